"""A sample table says by which rules it was read, unless those are the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.cache.samples import SampleTable, read_samples, write_samples
from featcache.errors import ShardError
from featcache.files.string_column import StringColumn


def make_table(**changes: object) -> SampleTable:
    texts = StringColumn.from_strings(["a"])
    zeros = {name: np.zeros(1, np.uint8) for name in ("image_status", "text_status")}
    keys = {name: np.ones((1, 32), np.uint8) for name in ("image_key", "text_key")}
    sizes = {name: np.zeros(1, np.uint32) for name in ("width", "height")}
    labels = {"label_a": np.zeros(1, np.int8), "label_b": np.zeros(1, np.int16)}
    table = SampleTable(
        "d", "o", ("real",), texts, texts, texts, np.array(["train"]), **labels, **keys, **zeros, **sizes
    )
    return replace(table, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rules", "labels"), [(2, ""), (2, "0=ai,1=real"), (1, "none"), (7, "ü=ai")])
def test_rules_and_what_was_stated_are_read_back(rules: int, labels: str, tmp_path: Path) -> None:
    write_samples(tmp_path / "d.h5", make_table(rules=rules, labels=labels), root=tmp_path)
    found = read_samples(tmp_path / "d.h5")
    assert (found.rules, found.labels) == (rules, labels)


def test_a_table_of_the_first_rules_has_no_column_of_them(tmp_path: Path) -> None:
    write_samples(tmp_path / "d.h5", make_table(), root=tmp_path)
    with h5py.File(tmp_path / "d.h5") as file:
        assert not {"rules", "labels"} & set(file)
    found = read_samples(tmp_path / "d.h5")
    assert (found.rules, found.labels) == (1, "")


@pytest.mark.parametrize("rules", [0, -1, 12345])
def test_rules_that_are_none_are_damage(rules: int, tmp_path: Path) -> None:
    write_samples(tmp_path / "d.h5", make_table(rules=rules, labels="none"), root=tmp_path)
    with pytest.raises(ShardError, match=rf"was read by the rules '{rules}', expected a number from 1"):
        read_samples(tmp_path / "d.h5")
