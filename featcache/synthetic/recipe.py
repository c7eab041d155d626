"""What the vectors of a synthetic store are: Gaussian, and known well enough to say what a perfect classifier says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import FeatcacheError
from featcache.identity.terms import CLEAN
from featcache.store.selection import Selection
from featcache.synthetic.gaussian import BayesScores, GaussianClasses

__all__ = ["N_FACTORS", "SyntheticOutput", "SyntheticRecipe", "SyntheticView"]

N_FACTORS = 4
"""Dimensions of what a caption and its pictures share."""


@dataclass(frozen=True)
class SyntheticOutput:
    """One named vector; all lengths are in standard deviations of its noise.

    Attributes
    ----------
    width : int
        How many columns its vectors have.
    signal : float
        Distance of each class mean from the centre; 0 for text, whose vector six rows share.
    content : float
        Strength of what the caption and its pictures share. In pictures it moves vectors along the directions in
        which the class means lie, so that knowing it helps.
    """

    width: int
    signal: float = 0.0
    content: float = 1.0


@dataclass(frozen=True)
class SyntheticView:
    """What a perturbation does to the vectors of pictures.

    Attributes
    ----------
    shift : float
        Length by which all vectors move in one direction.
    keep : float
        Share of each class mean that is left.
    noise : float
        Standard deviation of the noise that is added.
    """

    shift: float = 0.0
    keep: float = 1.0
    noise: float = 0.0


def _default_outputs() -> dict[str, dict[str, SyntheticOutput]]:
    return {
        "text": {"cls": SyntheticOutput(12, content=3.0)},
        "image": {
            "pooled": SyntheticOutput(24, signal=2.5),
            "layers:1": SyntheticOutput(24, signal=0.5),
            "layers:2": SyntheticOutput(24, signal=2.0),
            "layers:3": SyntheticOutput(24, signal=1.5),
        },
        "spectral": {"radial": SyntheticOutput(16, signal=1.5, content=0.0)},
    }


@dataclass(frozen=True)
class SyntheticRecipe:
    """What a synthetic cache is made of; the same recipe gives the same files.

    Attributes
    ----------
    captions : mapping of split to int
        Captions in each; every one makes ``1 + len(generators)`` rows.
    generators : tuple of str
        Names of the generators, at least one.
    outputs : mapping of modality to mapping of name to SyntheticOutput
        ``text``, ``image`` and ``spectral``, or some of them.
    views : mapping of name to SyntheticView
        Further views of the pictures, beside ``clean``.
    label_noise : mapping of split to float
        Share of the rows whose label is replaced by another class, any with the same chance.
    missing : mapping of content to float
        Share of the rows without caption, or without picture.
    unlabelled : float
        Share of the rows without labels.
    seed : int
        What everything is drawn from: means, directions, noise.
    """

    captions: Mapping[str, int] = field(default_factory=lambda: {"train": 200, "valid": 100, "test": 100})
    generators: tuple[str, ...] = ("sd21", "sdxl", "sd3", "dalle3", "midjourney")
    outputs: Mapping[str, Mapping[str, SyntheticOutput]] = field(default_factory=_default_outputs)
    views: Mapping[str, SyntheticView] = field(default_factory=dict)
    label_noise: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    unlabelled: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.generators or len(set(self.classes)) != len(self.classes):
            raise FeatcacheError(f"generators are {self.generators!r}, expected one or more, each once, none 'real'")
        if not sum(self.captions.values()) or not set(self.captions) <= {"train", "valid", "test"}:
            raise FeatcacheError(f"captions are {dict(self.captions)!r}, expected some of train, valid, test")
        for name, output in self.outputs.get("text", {}).items():
            if output.signal:
                raise FeatcacheError(f"text output {name!r} has signal {output.signal}: one text serves all classes")
        shares = (*self.label_noise.values(), *self.missing.values(), self.unlabelled)
        if any(not 0 <= share <= 1 for share in shares):
            raise FeatcacheError(f"shares of noise, missing and unlabelled rows are {shares!r}, expected 0 to 1")

    @property
    def classes(self) -> tuple[str, ...]:
        """``("real", generator, …)``."""
        return ("real", *self.generators)

    def bayes_proba(
        self, features: Mapping[str, NDArray[np.floating[Any]]], selections: Mapping[str, Selection]
    ) -> NDArray[np.float64]:
        """Return the posterior of each class, given some modalities of single rows.

        Parameters
        ----------
        features : mapping of modality to array (n, d)
            Vectors as a store gives them; their outputs side by side.
        selections : mapping of modality to Selection
            Which vectors these are: modalities, outputs and view are what matters.

        Returns
        -------
        float64 array (n, K)
            In the order of `classes`; P(AI) is 1 minus the first column.
        """
        X = np.concatenate([features[modality] for modality in selections], axis=1)
        return self.model(selections).posterior(X)

    def bayes_scores(
        self, selections: Mapping[str, Selection], *, n_draws: int = 200_000, seed: int = 0
    ) -> BayesScores:
        """Estimate the best scores that a classifier of these vectors can have, against labels without noise."""
        return self.model(selections).scores(n_draws=n_draws, seed=seed)

    def model(self, selections: Mapping[str, Selection]) -> GaussianClasses:
        """Return the distribution of the selected vectors, side by side in the order of ``selections``."""
        parts = [
            self.part(modality, name, selection.view)
            for modality, selection in selections.items()
            for name in selection.outputs
        ]
        means, variances, loadings = zip(*parts, strict=True)
        priors = np.full(len(self.classes), 1 / len(self.classes))
        return GaussianClasses(np.hstack(means), np.concatenate(variances), np.vstack(loadings), priors)

    def part(
        self, modality: str, name: str, view: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return means (K, d), variances (d,) and loadings (d, q) of one output under a view."""
        output, change = self.outputs[modality][name], self._view(view)
        directions = self._directions(modality, output.width)
        # The content of pictures lies in the span of the class means; that of texts anywhere.
        mixing = self.rng("content", modality).standard_normal((N_FACTORS, len(self.classes)))
        factors = mixing @ directions
        if modality == "text":
            factors = self.rng("text", output.width).standard_normal((N_FACTORS, output.width))
        towards = self.rng("shift", view, modality)
        sideways = towards.standard_normal((1, len(self.classes))) @ directions
        shift = _unit(_unit(sideways) + _unit(towards.standard_normal((1, output.width))))
        means = change.keep * output.signal * directions + change.shift * shift
        variance = np.full(output.width, 1.0 + change.noise**2)
        return means, variance, output.content * _unit(factors).T

    def _directions(self, modality: str, width: int) -> NDArray[np.float64]:
        """Return a unit vector a class, the same in all outputs of this width: (K, width)."""
        drawn = [self.rng("class", modality, name, width).standard_normal(width) for name in self.classes]
        return _unit(np.array(drawn))

    def _view(self, name: str) -> SyntheticView:
        if name != CLEAN and name not in self.views:
            raise FeatcacheError(f"view {name!r} is none of clean, {', '.join(self.views)}")
        return self.views.get(name, SyntheticView())

    def rng(self, *purpose: object) -> np.random.Generator:
        """Return the stream of random numbers of a purpose: another output or view changes nothing about the rest."""
        digest = hashlib.sha256("\0".join(map(str, (self.seed, *purpose))).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
