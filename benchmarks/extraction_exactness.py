"""How far stored vectors are from float32, output by output, and what a linear head makes of the difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.pictures.decode import decode_rgb

__all__ = ["Exactness"]

_BATCH = 32


class Exactness:
    """Vectors of the same contents in several precisions.

    Parameters
    ----------
    text, image : str
        Folders of the models.
    manifest : str
        The data.
    threads : int
        Of torch.
    """

    def __init__(self, text: str, image: str, manifest: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._samples = Manifest.from_source(manifest).samples
        self._specs: dict[str, Any] = {"text": TextSpec(resolve_model(text)), "image": ImageSpec(resolve_model(image))}

    def errors(self, dtype: str, n: int) -> dict[str, Any]:
        """Compare ``n`` samples as they are stored, computed in float32 and in a lower precision, with float32.

        Returns
        -------
        dict
            By modality ``storage`` and ``compute``: relative errors by output, both stored as float16; and ``head``:
            share of held-out predictions of a linear head on the default output that stay the same, for both.
        """
        labels = np.array([sample.label_b or "" for sample in self._samples[:n]])
        found = {}
        for modality, spec in self._specs.items():
            default = "cls" if modality == "text" else "pooled"
            spec = replace(spec, outputs=("layers:all", default, "mean"))
            outputs = spec.outputs
            inputs = self._inputs(spec, n)
            exact = _encode(spec, inputs)
            stored = {name: _through_float16(vectors) for name, vectors in exact.items()}
            low = _encode(replace(spec, compute_dtype=dtype), inputs)
            low = {name: _through_float16(vectors) for name, vectors in low.items()}
            found[modality] = {
                "storage": {name: _relative_error(stored[name], exact[name]) for name in outputs},
                "compute": {name: _relative_error(low[name], exact[name]) for name in outputs},
                "head": _agreement(exact[default], (stored[default], low[default]), labels),
            }
        return found

    def _inputs(self, spec: EncoderSpec, n: int) -> list[Any]:
        if spec.modality == "text":
            return [spec.prepare(sample.caption) for sample in self._samples[:n]]
        return [spec.prepare(decode_rgb(s.image.read_bytes())) for s in self._samples[:n] if s.image]


def _encode(spec: EncoderSpec, inputs: list[Any]) -> dict[str, NDArray[np.float32]]:
    encoder = spec.load("cpu")
    parts = [encoder.encode(inputs[start : start + _BATCH]) for start in range(0, len(inputs), _BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in spec.outputs}


def _through_float16(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors.astype(np.float16).astype(np.float32)


def _relative_error(found: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the norm of the difference over that of the exact vectors, both centred: what they have in common hides
    what tells them apart.
    """
    a, b = (vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64) for vectors in (found, exact))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def _agreement(
    exact: NDArray[np.float32], others: tuple[NDArray[np.float32], ...], labels: NDArray[np.str_]
) -> list[float]:
    fit = np.arange(len(labels)) % 2 == 0
    center, spread = exact[fit].mean(0), exact[fit].std(0) + 1e-6
    head = LogisticRegression(max_iter=1000).fit((exact[fit] - center) / spread, labels[fit])
    expected = head.predict((exact[~fit] - center) / spread)
    return [float((head.predict((other[~fit] - center) / spread) == expected).mean()) for other in others]
