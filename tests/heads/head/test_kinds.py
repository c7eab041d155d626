"""Laws of the kinds of heads: a name is a class, imported when asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from heads.errors import HeadsError
from heads.head.kinds import HEADS, config_class, head_class, is_head_file
from tests.heads.rows import TASKS, make_head, make_rows


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(HeadsError, match="unknown kind of head 'svm', expected one of mlp, linear, gbdt"):
        head_class("svm")


def test_each_kind_is_the_one_that_its_class_names() -> None:
    assert {kind: head_class(kind).kind for kind in HEADS} == {kind: kind for kind in HEADS}


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
