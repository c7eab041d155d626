"""Laws of the controls: what is taken away is gone, everything else stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heads.ablation.controls import ShuffledColumns, shuffle_labels, shuffle_rows
from heads.data.choices import choose_selections
from heads.data.features import Features
from heads.data.folds import label_codes
from heads.data.row_source import ArrayRows
from tests.heads.synthetic import Row, load_fit_features, write_cache


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    def drop(rows: list[Row]) -> None:
        rows[3].caption = None
        rows[4].label = None

    store = write_cache(tmp_path_factory.mktemp("controls") / "cache", edit=drop)
    return load_fit_features(store, choose_selections(store, store.modalities))


def test_rows_are_exchanged_within_their_split_and_the_rest_stays(features: Features) -> None:
    movable = features.present["text"]
    order = shuffle_rows(features, movable, seed=1)
    assert sorted(order) == list(range(len(features)))
    assert (features.split[order] == features.split).all()
    assert order[3] == 3
    assert (order != np.arange(len(features))).mean() > 0.9
    assert (order == shuffle_rows(features, movable, seed=1)).all()
    assert (order != shuffle_rows(features, movable, seed=2)).any()


def test_shuffled_labels_keep_their_frequencies_and_lose_their_rows(features: Features) -> None:
    shuffled = shuffle_labels(features, seed=0)
    for split in ("train", "valid"):
        rows = features.split == split
        for name in ("a", "b"):
            before, after = features.targets, shuffled
            counts = [np.bincount(t.y[name][rows & t.applies[name]], minlength=5) for t in (before, after)]
            assert (counts[0] == counts[1]).all()
    known = shuffled.applies["a"]
    assert not known[4]
    assert (shuffled.applies["b"] == (known & (shuffled.y["a"] == 1))).all()
    assert (shuffled.y["a"] != features.targets.y["a"]).any()


def test_a_picture_or_a_group_and_label_has_one_new_label_whatever_its_split(features: Features) -> None:
    n = len(features)
    rng = np.random.default_rng(0)
    picture, family = rng.integers(0, n // 2, n), rng.integers(0, n // 8, n)
    own = np.zeros((n, 32), dtype=np.uint8)
    own[:, :2] = 1 + np.stack([picture // 250, picture % 250], axis=1)
    some = np.where(np.arange(n) % 2 == 0, np.char.add("g", family.astype(str)), "")
    crossing = replace(features, group=some, keys={**features.keys, "image": own})
    codes, known = label_codes(features), np.flatnonzero(features.labelled)
    for seed in range(3):
        new = label_codes(replace(crossing, targets=shuffle_labels(crossing, seed=seed)))
        for same in (picture, np.where(some != "", family * 100 + codes, -1 - np.arange(n))):
            for value in np.unique(same[known]):
                assert len(set(new[known][same[known] == value])) == 1
        assert (new != codes)[known].mean() > 0.3
        assert set(shuffle_labels(crossing, seed=seed).y["a"][known]) == {0, 1}


@pytest.mark.parametrize("view", [0, 1])
def test_only_the_columns_that_are_named_come_from_another_row(view: int) -> None:
    X = np.arange(2 * 5 * 4, dtype=np.float32).reshape(2, 5, 4)
    order = np.array([1, 2, 0, 4, 3])
    source = ShuffledColumns(ArrayRows(X), slice(0, 3), order)
    found = source.read(np.array([4, 0]), view)
    assert (found[:, 3:] == X[view][[4, 0], 3:]).all()
    assert (found[:, :3] == X[view][[3, 1], :3]).all()
    assert (source.n_views, source.n_rows, source.n_columns) == (2, 5, 4)
    assert (np.arange(40).reshape(2, 5, 4) == X).all()
