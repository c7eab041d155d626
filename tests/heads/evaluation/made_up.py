"""Rows and scores that are drawn, for tests of evaluations."""

from __future__ import annotations

import numpy as np

from heads.evaluation.detectors import Scored
from heads.evaluation.figures import Figures
from heads.evaluation.truth import Truth
from heads.verdicts.points import OperatingPoint

BALANCED = OperatingPoint("balanced", "clean", 0.5, 0.5)
GENERATORS = ("sdxl", "sd3", "firefly")
KNOWN = ("sd3", "sdxl")


def draw_truth(n: int = 240, *, n_groups: int = 40, seed: int = 0) -> Truth:
    """Draw rows of both classes; a third of the AI rows is of a generator that no detector knows."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.6).astype(np.int64)
    generator = np.where(y == 0, "real", np.array(GENERATORS)[rng.integers(0, 3, n)])
    origin = np.array(["camera", "web"])[rng.integers(0, 2, n)]
    groups = np.unique(rng.integers(0, n_groups, n), return_inverse=True)[1]
    slices = {"generator": generator, "origin": origin, "format": origin, "size": origin}
    return Truth("test", np.array([f"row {i:03d}" for i in range(n)]), y, groups, slices, 5)


def draw_scores(truth: Truth, *, signal: float = 1.5, seed: int = 1) -> Scored:
    """Draw scores, rounded so that some are equal."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=len(truth)) + signal * (truth.y - 0.5)
    raw = np.round(1 / (1 + np.exp(-logits)), 2)
    shares = rng.dirichlet(np.ones(len(KNOWN)), len(truth)).astype(np.float32)
    return Scored(np.arange(len(truth)), raw, raw, shares, KNOWN)


def draw_figures(point: OperatingPoint = BALANCED, *, prior: float | None = None) -> Figures:
    """Draw rows and what is said of them."""
    truth = draw_truth()
    return Figures(truth, draw_scores(truth), point, prior)
