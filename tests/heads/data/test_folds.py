"""Laws of the divisions: nothing that belongs together is divided, every row is scored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcache import link_rows
from heads.data.choices import choose_selections
from heads.data.features import Features
from heads.data.folds import build_parts
from heads.errors import HeadsError
from tests.heads.synthetic import Row, load_fit_features, write_cache


def features_of(path: Path, edit: object = None) -> Features:
    store = write_cache(path, captions={"train": 20, "valid": 10}, edit=edit)  # type: ignore[arg-type]
    return load_fit_features(store, choose_selections(store, store.modalities))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    return features_of(tmp_path_factory.mktemp("folds") / "cache")


@pytest.mark.parametrize("folds", [3, 5])
def test_every_row_is_scored_once_by_heads_that_saw_nothing_of_it(features: Features, folds: int) -> None:
    parts = build_parts(features, folds)
    assert len(parts) == folds
    assert sorted(np.concatenate([part.score_rows for part in parts])) == list(range(len(features)))
    sets = link_rows(features)
    for part in parts:
        kinds = [set(sets[rows]) for rows in (part.fit_rows, part.select_rows, part.score_rows)]
        assert sum(map(len, kinds)) == len(set.union(*kinds)) == 30
        assert len(part.fit_rows) + len(part.select_rows) + len(part.score_rows) == len(features)


def test_folds_have_their_share_of_every_class(features: Features) -> None:
    for part in build_parts(features, 5):
        assert len(part.score_rows) == 36
        assert np.bincount(features.targets.y["a"][part.score_rows]).tolist() == [6, 30]


def test_folds_do_not_depend_on_the_order_of_the_rows(features: Features) -> None:
    order = np.random.default_rng(0).permutation(len(features))
    forth, back = build_parts(features, 4), build_parts(features.select(order), 4)
    for ours, theirs in zip(forth, back, strict=True):
        assert set(features.sample_id[ours.score_rows]) == set(features.sample_id[order][theirs.score_rows])


def test_a_shared_picture_joins_groups_and_a_caption_joins_only_rows_without_one(tmp_path: Path) -> None:
    def edit(rows: list[Row]) -> None:
        rows[6].picture = rows[0].picture  # of another group
        for row in rows[12:24]:
            row.group, row.caption = "", "the same"
        rows[24].caption = "the same"  # has a group

    sets = link_rows(features_of(tmp_path / "cache", edit))
    assert len(np.unique(sets[:12])) == 1
    assert len(np.unique(sets[12:24])) == 1
    assert len({sets[0], sets[12], sets[24]}) == 3


def test_without_folds_valid_is_scored_and_its_selecting_part_selects(features: Features) -> None:
    (part,) = build_parts(features, None)
    assert set(features.split[part.fit_rows]) == {"train"}
    assert set(features.split[part.score_rows]) == {"valid"}
    assert set(part.select_rows) < set(part.score_rows)


@pytest.mark.parametrize(("folds", "message"), [(2, "expected 3 or more"), (31, "30 sets of one group")])
def test_folds_that_cannot_be_made_are_refused(features: Features, folds: int, message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        build_parts(features, folds)
