"""Laws of the kinds of heads: a name is a class, imported when asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from safetensors.numpy import load

from heads.errors import HeadsError
from heads.head.kinds import HEADS, config_class, head_class, is_head_file
from tests.heads.rows import TASKS, make_head, make_rows, reload


def test_an_unknown_kind_is_refused() -> None:
    known = "mlp, linear, lda, gbdt, ensemble"
    with pytest.raises(HeadsError, match=f"unknown kind of head 'svm', expected one of {known}"):
        head_class("svm")


def test_each_kind_is_the_one_that_its_class_names() -> None:
    assert {kind: head_class(kind).kind for kind in HEADS} == {kind: kind for kind in HEADS}


@pytest.mark.parametrize("kind", HEADS)
def test_parameters_are_the_learnt_numbers_that_a_head_saves(kind: str, tmp_path: Path) -> None:
    X, targets = make_rows(120)
    head = make_head(kind).fit(X, targets, select=(X, targets))
    head.save(tmp_path)
    saved = [load(path.read_bytes()) for path in tmp_path.glob("*.safetensors")]
    learnt = [v for tensors in saved for name, v in tensors.items() if not name.startswith("scaler.")]
    n_learnt = sum(value.size for value in learnt if value.dtype.kind == "f")
    assert head.n_parameters == (n_learnt or None)
    assert reload(head, tmp_path / "again").n_parameters == head.n_parameters


@pytest.mark.parametrize("kind", HEADS)
def test_what_the_table_says_of_a_kind_is_what_its_package_has(kind: str) -> None:
    known = {field.name for field in fields(config_class(kind))}
    assert HEADS[kind].is_network == ({"fusion", "dim", "lr", "weight_decay", "loss"} <= known)
    assert HEADS[kind].is_network == hasattr(config_class(kind), "paper")
    assert HEADS[kind].shares_parts == hasattr(head_class(kind), "fit_parts")
    assert HEADS[kind].is_network or not HEADS[kind].fits_packs


@pytest.mark.parametrize("kind", HEADS)
def test_only_a_kind_that_is_random_depends_on_the_seed(kind: str) -> None:
    X, targets = make_rows(120, signal=1.0)
    settings = {"feature_fraction": 0.5} if kind == "gbdt" else {}
    heads = [make_head(kind, **settings).fit(X, targets, select=(X, targets), seed=seed) for seed in (0, 1)]
    one, other = (head.predict_proba(X).proba["a"] for head in heads)
    assert (one != other).any() == HEADS[kind].is_random


def test_the_registry_loads_no_framework() -> None:
    code = "import sys, heads.head.kinds; print([m for m in ('torch', 'lightgbm', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_config_of_a_kind_is_that_of_its_heads() -> None:
    assert all(type(make_head(kind).config) is config_class(kind) for kind in HEADS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_writes_files_of_known_names_alone(kind: str, tmp_path: Path) -> None:
    settings = {"components": 3} if kind == "gbdt" else {}
    X, targets = make_rows(120)
    make_head(kind, TASKS, **settings).fit(X, targets, select=(X, targets)).save(tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) > 1 and all(is_head_file(name) for name in names)
    assert not any(is_head_file(name) for name in ("thesis.txt", "model-x.txt", "model-01.txt", "mine.safetensors"))
