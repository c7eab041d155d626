"""Laws of what is held out: no row of it, and none that goes with its rows, is where it would be learnt or chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featcache import link_rows
from heads.data.choices import choose_selections
from heads.data.division import divide_validation
from heads.data.features import Features
from heads.data.held_out import build_held_out, parse_axis
from heads.errors import HeadsError
from tests.heads.synthetic import GENERATORS, load_fit_features, write_cache


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    store = write_cache(tmp_path_factory.mktemp("held") / "cache", captions={"train": 8, "valid": 6})
    return load_fit_features(store, choose_selections(store, ["image"]))


def ungrouped(features: Features) -> Features:
    """Return rows that share nothing: no group, no caption."""
    return replace(features, group=np.full(len(features), ""), keys={"image": features.keys["image"]})


def maker_of(features: Features) -> np.ndarray:
    return np.array([sample_id.split("-")[-1] for sample_id in features.sample_id.tolist()])


@pytest.mark.parametrize("shares_groups", [True, False])
def test_no_row_of_a_generator_is_fitted_selected_or_calibrated_on(features: Features, shares_groups: bool) -> None:
    rows = features if shares_groups else ungrouped(features)
    held, maker, sets = build_held_out(rows, "generator"), maker_of(rows), link_rows(rows)
    assert [division.value for division in held.divisions] == list(GENERATORS)
    valid = np.flatnonzero(rows.split == "valid")
    halves = divide_validation(rows.select(valid))
    for division in held.divisions:
        own, part = maker == division.value, division.part
        for used, of in (
            (part.fit_rows, rows.split == "train"),
            (part.select_rows, np.isin(np.arange(len(rows)), valid[halves.selecting])),
            (division.calibrating, np.isin(np.arange(len(rows)), valid[halves.calibrating])),
        ):
            np.testing.assert_array_equal(used, np.flatnonzero(of & ~own))
        # Rows of training join where they share no group with rows to fit.
        joined = own & (rows.split == "valid") if shares_groups else own
        reference = (maker == "real") & (rows.split == "valid")
        np.testing.assert_array_equal(division.tested, np.flatnonzero(joined | reference))
        assert division.n_own == (6 if shares_groups else 14)
        assert not np.isin(sets[division.tested], sets[part.fit_rows]).any()
        np.testing.assert_array_equal(part.score_rows, np.union1d(division.calibrating, division.tested))


def test_an_origin_is_judged_within_itself_and_rows_without_one_take_no_part(features: Features) -> None:
    origin = np.array(["x", "y", "z", ""])[np.arange(len(features)) % 4]
    rows = replace(ungrouped(features), origin=origin)
    held = build_held_out(rows, "origin")
    assert [division.value for division in held.divisions] == ["x", "y", "z"]
    assert held.n_unnamed == (origin == "").sum()
    for division in held.divisions:
        np.testing.assert_array_equal(division.tested, np.flatnonzero(origin == division.value))
        used = np.concatenate([division.part.fit_rows, division.part.select_rows, division.calibrating])
        assert not np.isin(origin[used], [division.value, ""]).any()


def test_what_cannot_be_held_out_is_named_with_the_reason(features: Features) -> None:
    origin = np.where(maker_of(features) == "real", "camera", "web")
    origin[(origin == "web") & (features.split == "train")] = "old"
    held = build_held_out(replace(features, origin=origin), "origin")
    assert [division.value for division in held.divisions] == ["web"]
    assert held.refused == {
        "camera": "one class is left to fit on",
        "old": "one class is left to fit on",
    }
    origin = np.where(features.split == "train", np.array(["x", "y"])[np.arange(len(features)) // 6 % 2], "z")
    assert "no row of validation" in build_held_out(replace(features, origin=origin), "origin").refused["z"]


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (None, "needs two origins or more .*, found none: give the data set a column origin"),
        ("one", "found only 'one'$"),
        ("made by", "no origin can be held out: without 'camera' one class is left to fit on"),
    ],
)
def test_where_nothing_can_be_held_out_it_is_refused(features: Features, origin: str | None, message: str) -> None:
    column = None if origin is None else np.full(len(features), origin)
    if origin == "made by":
        column = np.where(maker_of(features) == "real", "camera", "web")
    with pytest.raises(HeadsError, match=message):
        build_held_out(replace(features, origin=column), "origin")


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(HeadsError, match="unknown axis 'caption' to hold out, expected one of generator, origin"):
        parse_axis("caption")


def test_ai_rows_of_an_unknown_generator_take_no_part(tmp_path: Path) -> None:
    def forget(rows: list) -> None:
        for row in rows[1::12]:
            row.label = "ai"

    store = write_cache(tmp_path / "cache", captions={"train": 8, "valid": 6}, edit=forget)
    rows = load_fit_features(store, choose_selections(store, ["image"]))
    held = build_held_out(rows, "generator")
    unknown = np.flatnonzero(rows.targets.applies["a"] & (rows.targets.y["a"] == 1) & ~rows.targets.applies["b"])
    assert held.n_unnamed == len(unknown) == 7
    for division in held.divisions:
        for used in (division.part.fit_rows, division.part.select_rows, division.part.score_rows):
            assert not np.isin(used, unknown).any()
