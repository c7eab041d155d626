"""Laws of the division of validation: halves that share nothing, the same whenever the rows are the same."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.data.choices import choose_selections
from heads.data.division import CLASS_RULE, SIZE_RULE, divide_validation
from heads.data.features import Features
from heads.data.tasks import build_targets, default_tasks
from heads.errors import HeadsError
from tests.heads.synthetic import Row, load_fit_features, write_cache


def valid_rows(path: Path, **options: object) -> Features:
    store = write_cache(path, **options)
    features = load_fit_features(store, choose_selections(store, store.modalities))
    return features.select(features.split == "valid")


def _key(content: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(content.encode()).digest(), dtype=np.uint8)


def rows_of(groups: list[str], ids: list[str] | None = None) -> Features:
    """Return rows of these groups, each with a picture and a caption of its own."""
    n = len(groups)
    tasks = default_tasks(["x", "y"])
    return Features(
        sample_id=np.array(ids or [f"s{i}" for i in range(n)]),
        split=np.array(["valid"] * n),
        group=np.array(groups),
        vectors={},
        present={},
        keys={name: np.array([_key(f"{name} {i}") for i in range(n)]) for name in ("text", "image")},
        targets=build_targets(tasks, {"a": np.arange(n) % 2, "b": np.arange(n) % 3 - 1}),
        tasks=tasks,
        unseen=np.zeros(n, dtype=np.bool_),
        outputs={},
    )


def test_validation_is_divided_into_halves_that_share_no_group(tmp_path: Path) -> None:
    valid = valid_rows(tmp_path / "cache")
    division = divide_validation(valid)
    assert (division.selecting ^ division.calibrating).all()
    assert division.selecting.sum() == division.calibrating.sum() == len(valid) / 2
    assert not set(valid.group[division.selecting]) & set(valid.group[division.calibrating])


def test_rows_that_share_a_picture_are_not_divided(tmp_path: Path) -> None:
    def copy(rows: list[Row]) -> None:
        valid = [row for row in rows if row.split == "valid"]
        for first, second in zip(valid[::6], valid[6::6], strict=False):
            second.picture = first.picture

    valid = valid_rows(tmp_path / "cache", edit=copy)
    division = divide_validation(valid)
    assert division.selecting.all()  # a chain through all groups: there is nothing to divide


def test_without_groups_a_shared_caption_keeps_rows_together(tmp_path: Path) -> None:
    def ungroup(rows: list[Row]) -> None:
        for row in rows:
            row.group = ""

    valid = valid_rows(tmp_path / "cache", edit=ungroup)
    division = divide_validation(valid)
    captions = np.array([sample_id.rsplit("-", 1)[0] for sample_id in valid.sample_id])
    assert not set(captions[division.selecting]) & set(captions[division.calibrating])
    assert division.calibrating.any()


def test_the_division_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    valid = valid_rows(tmp_path / "cache")
    order = np.random.default_rng(1).permutation(len(valid))
    first, second = divide_validation(valid), divide_validation(valid.select(order))
    assert first.digest == second.digest
    assert (first.calibrating[order] == second.calibrating).all()


def test_the_digest_changes_with_a_label_and_with_a_row(tmp_path: Path) -> None:
    valid = valid_rows(tmp_path / "cache")
    digest = divide_validation(valid).digest
    assert divide_validation(valid.select(np.arange(len(valid) - 1))).digest != digest
    valid.targets.y["a"][0] = 1
    assert divide_validation(valid).digest != digest


def test_no_validation_rows_is_an_error() -> None:
    with pytest.raises(HeadsError, match="split 'valid'"):
        divide_validation(rows_of(["a"]).select(np.zeros(1, dtype=bool)))


def test_by_the_rule_of_sizes_large_groups_come_before_small_ones_and_the_first_selects() -> None:
    for groups in ("aaabbc", "caabbb", "abbbcc"):
        division = divide_validation(rows_of(list(groups)), rule=SIZE_RULE)
        assert division.selecting.tolist() == [groups.count(group) == 3 for group in groups]


def test_by_the_rule_of_sizes_groups_of_one_size_go_by_their_names_and_not_by_their_places() -> None:
    names = [f"g{i}" for i in range(12)]
    first = divide_validation(rows_of(names), rule=SIZE_RULE)
    assert first.selecting.sum() == first.calibrating.sum() == 6
    second = divide_validation(rows_of(names[::-1], [f"t{i}" for i in range(12)]), rule=SIZE_RULE)
    assert (first.selecting == second.selecting[::-1]).all()


def test_by_the_rule_of_sizes_a_row_without_a_group_goes_by_its_sample_id() -> None:
    names = [f"g{i}" for i in range(12)]
    both = rows_of(names, [f"t{i}" for i in range(12)]), rows_of([""] * 12, names)
    grouped, alone = (divide_validation(features, rule=SIZE_RULE) for features in both)
    assert (grouped.selecting == alone.selecting).all()


def test_by_the_rule_of_sizes_joined_groups_go_by_the_smallest_of_their_names() -> None:
    """Whichever of the rows that share a picture comes first."""
    groups = [f"g{i}" for i in range(12)]
    joined = [*groups, "z", "zz"]
    for order in (np.arange(14), np.arange(14)[::-1]):
        features = rows_of(joined)
        features.keys["image"][12:] = features.keys["image"][0]
        features = features.select(order)
        division = divide_validation(features, rule=SIZE_RULE)
        expected = divide_validation(rows_of([*groups, "g0", "g0"]).select(order), rule=SIZE_RULE)
        assert (division.selecting == expected.selecting).all()


def test_the_digest_of_the_same_rows_is_that_of_earlier_versions() -> None:
    """Runs record it: a run of before would seem to be of other validation rows."""
    features = rows_of(["b", "a", "", "a", "c"], ["s3", "s1", "s5", "s2", "s4"])
    division = divide_validation(features, rule=SIZE_RULE)
    assert division.selecting.tolist() == [True, True, False, True, False]
    assert division.digest == "49c9cdf65fbe0cf2ad4b4139ce32c87256cf236593b5252505ab143cf9f66403"
    division = divide_validation(rows_of([*"aaaabbbccd", "", ""]))
    assert division.rule == CLASS_RULE
    assert "".join("sc"[each] for each in division.calibrating.astype(int)) == "ssssccccccss"
    assert division.digest == "a6ec98cbfbc4d8ff2fcf6866f36699e709b8463dc5939ca47fec72e92821ddb3"


@pytest.mark.parametrize("row", range(4))
def test_the_digest_tells_every_id_key_and_known_target(row: int) -> None:
    digest = divide_validation(rows_of(list("aabb"))).digest

    def changed() -> Features:
        return rows_of(list("aabb"))

    other_id, other_key, other_target, other_class = (changed() for _ in range(4))
    other_id.sample_id[row] = f"t{row}"
    other_key.keys["image"][row, 31] ^= 1
    other_target.targets.applies["a"][row] = False
    other_class.targets.y["a"][row] = 1 - other_class.targets.y["a"][row]
    digests = {divide_validation(f).digest for f in (other_id, other_key, other_target, other_class)}
    assert len(digests | {digest}) == 5


def test_the_digest_does_not_tell_what_means_nothing() -> None:
    features, other = rows_of(list("aabb")), rows_of(list("aabb"))
    outside = ~other.targets.applies["b"]
    assert outside.any()
    other.targets.y["b"][outside] = 7
    assert divide_validation(other).digest == divide_validation(features).digest


def test_a_division_cannot_be_changed() -> None:
    division = divide_validation(rows_of(["a"]))
    with pytest.raises(FrozenInstanceError):
        division.digest = ""  # type: ignore[misc]


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40))
def test_by_the_rule_of_sizes_parts_differ_by_no_more_than_the_largest_group(groups: list[str]) -> None:
    division = divide_validation(rows_of(groups), rule=SIZE_RULE)
    lead = int(division.selecting.sum()) - int(division.calibrating.sum())
    assert abs(lead) <= max(map(groups.count, groups))


def test_sets_are_named_by_what_their_rows_are_drawn_by() -> None:
    names = [f"s{i}" for i in range(12)]
    known, new = rows_of([""] * 12, names), rows_of([""] * 12, [f"{name}.jpg" for name in names])
    drawn = replace(new, draw_name=np.array(names))
    assert (divide_validation(drawn).calibrating == divide_validation(known).calibrating).all()
    assert (divide_validation(new).calibrating != divide_validation(known).calibrating).any()
    assert drawn.select(np.arange(3)).names.tolist() == names[:3]


def test_an_unknown_rule_is_refused_in_one_line() -> None:
    with pytest.raises(HeadsError, match="divided by an unknown rule, 'by colour': was that done by a newer version"):
        divide_validation(rows_of(["a"]), rule="by colour")


@given(st.permutations(range(12)))
def test_rows_that_are_drawn_by_one_name_are_divided_in_whatever_order_they_come(order: list[int]) -> None:
    """A picture and its PNG, or files of one name in two folders that were joined."""
    features = replace(rows_of([""] * 12), draw_name=np.array(["n", "m"] * 6))
    rows = np.array(order)
    assert divide_validation(features.select(rows)).digest == divide_validation(features).digest


def test_a_large_group_leaves_no_part_without_a_class_and_the_rule_of_sizes_does() -> None:
    features = rows_of(["large"] * 8 + ["r1", "r2"] + ["x"] * 3)
    is_ai = np.array([1] * 8 + [0, 0] + [1] * 3)
    targets = build_targets(features.tasks, {"a": is_ai, "b": is_ai - 1})
    by_classes, by_size = (
        divide_validation(replace(features, targets=targets), rule=rule) for rule in (CLASS_RULE, SIZE_RULE)
    )
    assert by_classes.calibrating[8:10].sum() == 1
    assert by_classes.calibrating[10:].all() and not by_classes.calibrating[:8].any()
    assert by_size.calibrating[8:10].all()
