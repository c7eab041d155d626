"""Rows for tests of heads: Gaussian clouds, one a joint class, as raw matrices with targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heads.data.tasks import Targets, build_targets, default_tasks
from heads.ensemble.head import EnsembleConfig, EnsembleHead
from heads.files.contents import Contents
from heads.gbdt.head import GbdtConfig, GbdtHead
from heads.head.kinds import head_class
from heads.head.protocol import Head, Prediction
from heads.lda.config import LdaConfig
from heads.lda.head import LdaHead
from heads.linear.head import LinearConfig, LinearHead
from heads.mlp.head import MlpConfig, MlpHead

torch.set_num_threads(1)  # on a busy machine two threads that wait for each other are 50 times slower than one

TASKS = default_tasks(["x", "y", "z"])
KINDS = ("mlp", "mlp-paper", "mlp-joint", "linear", "lda", "gbdt", "ensemble")
Rows = tuple[np.ndarray, Targets]


def make_rows(n: int, *, seed: int = 0, dim: int = 6, signal: float = 3.0) -> Rows:
    """Draw ``n`` rows, a quarter real and a quarter from each of three generators."""
    rng = np.random.default_rng(seed)
    joint = rng.integers(0, 4, n)
    X = rng.normal(size=(n, dim))
    X[np.arange(n), joint] += signal
    # Columns of other scales and places, as encoders make them.
    X = X * np.linspace(0.01, 30, dim) + np.linspace(-5, 100, dim)
    return X.astype(np.float32), make_targets(joint)


def make_targets(joint: np.ndarray) -> Targets:
    """Return targets of joint classes: 0 real, 1 + k generator k."""
    return build_targets(TASKS, {"a": (joint > 0).astype(np.int64), "b": np.where(joint > 0, joint - 1, -1)})


def replace_y(targets: Targets, **y: np.ndarray) -> Targets:
    """Replace target values, and leave as it is where they apply."""
    return Targets({**targets.y, **y}, targets.applies)


def make_head(kind: str, tasks: Any = TASKS, **settings: Any) -> Head:
    """Build a small, quick head; ``mlp-paper`` and ``mlp-joint`` are losses of ``mlp``."""
    kind, _, loss = kind.partition("-")
    quick: Mapping[str, Any] = {"dim": 16, "epochs": 12, "batch_size": 64, "lr": 0.01}
    if kind == "ensemble":
        own = {"members": ("linear", "mlp"), "own": {"mlp": quick}}
        return EnsembleHead(tasks, EnsembleConfig.from_mapping({**own, **settings}))
    if kind == "mlp":
        return MlpHead(tasks, MlpConfig(**{**quick, "loss": loss or "multitask", **settings}))
    if kind == "linear":
        return LinearHead(tasks, LinearConfig(**settings))
    if kind == "lda":
        return LdaHead(tasks, LdaConfig(**settings))
    return GbdtHead(tasks, GbdtConfig(**{"rounds": 15, "feature_fraction": 1.0, "num_leaves": 7, **settings}))


def load_head(kind: str, folder: Path) -> Head:
    """Read a saved head."""
    return head_class(kind).load(Contents(folder))


def reload(head: Head, folder: Path) -> Head:
    """Save and load."""
    folder.mkdir(exist_ok=True)
    head.save(folder)
    return load_head(head.kind, folder)


def assert_equal(one: Prediction, other: Prediction) -> None:
    """Assert that two predictions are the same, bit for bit."""
    assert one.proba.keys() == other.proba.keys()
    for name, proba in one.proba.items():
        np.testing.assert_array_equal(proba, other.proba[name])
