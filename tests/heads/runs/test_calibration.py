"""Laws of calibration: which rows it may look at, what it writes, and that the run it starts from stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from featcache import FeatcacheError, FeatureStore, open_store
from featcache.cache.samples import write_samples
from featcache.files.string_column import StringColumn
from featcache.synthetic import SyntheticOutput, SyntheticView, write_synthetic
from heads.data.choices import choose_views
from heads.data.division import SIZE_RULE, divide_validation
from heads.data.loading import load_features, load_fit_rows
from heads.errors import HeadsError
from heads.runs.calibration import Calibration, Request, calibrate_run, save_calibrated, save_fitted
from heads.runs.calibration_rows import check_fit_rows
from heads.runs.fitting import fit_run, parse_config
from heads.runs.recording import build_record
from heads.runs.run import Run, load_run, save_run
from heads.runs.run_files import PSEUDO_FILE
from heads.verdicts.guarantees import Demand
from heads.verdicts.points import parse_point
from tests.heads.synthetic import Row, train_run, write_cache

CAPTIONS = {"train": 20, "valid": 130, "test": 20}
GENERATORS = ("sdxl", "dalle3")
FPR = Request(Demand(max_fpr=0.05))


def write(path: Path, *, edit: Callable[[list[Row]], Any] | None = None, **changes: Any) -> FeatureStore:
    """Write a cache whose classes overlap."""
    changes = {"captions": CAPTIONS, "generators": GENERATORS, "signal": 0.5, "modalities": ("image",), **changes}
    return write_cache(path, edit=edit, **changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write(tmp_path_factory.mktemp("calibration") / "cache")


@pytest.fixture(scope="module")
def run(store: FeatureStore) -> Run:
    return train_run(store, store.path.parent / "run", head="linear")


@pytest.fixture(scope="module")
def found(run: Run, store: FeatureStore) -> Calibration:
    return calibrate_run(run, store, FPR)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_point_is_found_on_the_calibrating_rows_alone(run: Run, store: FeatureStore, found: Calibration) -> None:
    valid = load_features(store, run.selections, splits=("valid",), tasks=run.tasks)
    part = valid.select(divide_validation(valid).calibrating)
    raw, y = run.predict(part).proba["a"], part.targets.y["a"]
    assert found.point is not None and found.n == len(part)
    (promise,) = found.point.guarantees
    assert (promise.n, promise.dataset, promise.rows) == ((y == 0).sum(), "synthetic", "calibrating")
    assert promise.n_errors == (found.point.is_ai(raw) & (y == 0)).sum()
    assert promise.expected == pytest.approx(np.mean(found.point.is_ai(raw)[y == 1]))


def test_a_calibrated_run_is_the_same_head_with_one_point_more(
    run: Run, store: FeatureStore, found: Calibration, tmp_path: Path
) -> None:
    before = bytes_of(run.path)
    new = save_calibrated(run, found.record, out=tmp_path / "new")
    assert bytes_of(run.path) == before
    assert {k: v for k, v in bytes_of(new.path).items() if k != "run.json"} == {
        name: data for name, data in before.items() if name != "run.json"
    }
    loaded = load_run(new.path)
    assert loaded.point() == found.point and loaded.threshold == loaded.point().ai_from
    assert loaded.point("balanced") == run.point("balanced")
    again = calibrate_run(loaded, store, Request(Demand(max_fnr=0.1)))
    assert list(replace(loaded, record=again.record).points) == ["balanced", "fpr-0.05", "fnr-0.1"]
    assert replace(loaded, record=again.record).point("balanced") == run.point("balanced")


def test_labels_of_pseudo_label_rounds_are_kept(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    old = save_run(run.record, run.head, out=tmp_path / "old", attachments={PSEUDO_FILE: b"sample_id\n"})
    new = save_calibrated(old, calibrate_run(old, store, FPR).record, out=tmp_path / "new")
    assert (new.path / PSEUDO_FILE).read_bytes() == b"sample_id\n" and load_run(new.path)


def test_an_early_run_is_calibrated_by_the_rule_that_it_was_divided_by(tmp_path: Path) -> None:
    legacy = Path(__file__).parents[2] / "legacy"
    early = load_run(legacy / "runs" / "pseudo")
    result = calibrate_run(early, open_store(legacy / "cache", dataset="photos"), Request(Demand(0.5, confidence=0.6)))
    assert early.record.division_rule == SIZE_RULE and result.n == early.record.validation["calibrating"]["n"]
    new = save_calibrated(early, result.record, out=tmp_path / "new")
    assert bytes_of(new.path).keys() == bytes_of(early.path).keys()


def test_a_run_never_changes(run: Run, found: Calibration, tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match="a run never changes: name another --out"):
        save_calibrated(run, found.record, out=run.path.parent / "." / "run", overwrite=True)
    copy = load_run(copytree(run.path, tmp_path / "copy"))
    weights = copy.path / "head" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(HeadsError, match="was changed or damaged"):
        save_calibrated(copy, found.record, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_two_points_have_two_names(run: Run, store: FeatureStore, found: Calibration) -> None:
    with pytest.raises(HeadsError, match=r"operating point 'fpr-0.05' already: .* --name"):
        calibrate_run(replace(run, record=found.record), store, FPR)
    with pytest.raises(HeadsError, match="operating point 'balanced' already"):
        calibrate_run(run, store, replace(FPR, name="balanced"))
    with pytest.raises(HeadsError, match="is called 'No Name'"):
        calibrate_run(run, store, replace(FPR, name="No Name"))


def test_too_few_rows_leave_nothing(run: Run, store: FeatureStore) -> None:
    with pytest.raises(HeadsError, match=r"needs 299 real rows .* found 65 among the calibrating rows of 'synthetic'"):
        calibrate_run(run, store, Request(Demand(max_fpr=0.01)))
    features = load_features(store, run.selections, splits=("train", "valid"), tasks=run.tasks)
    with pytest.raises(HeadsError, match="found 65 among the calibrating rows"):
        check_fit_rows(features, "image", Demand(max_fpr=0.01), dataset="synthetic", view="clean")
    check_fit_rows(features, "image", Demand(max_fpr=0.05), dataset="synthetic", view="clean")


def test_validation_that_changed_is_refused(run: Run, tmp_path: Path) -> None:
    def relabel(rows: list[Row]) -> None:
        next(row for row in rows if row.split == "valid").label = None

    changed = write(tmp_path / "cache", edit=relabel)
    moved = replace(run, record=replace(run.record, source={"cache": str(changed.path), "dataset": "synthetic"}))
    gone = replace(run, record=replace(run.record, source={"cache": str(tmp_path / "gone"), "dataset": "synthetic"}))
    for each in (moved, gone):
        with pytest.raises(HeadsError, match=r"are not those that .* was selected on .* another --dataset"):
            calibrate_run(each, changed, FPR)


def test_rows_of_test_are_never_looked_at(run: Run, found: Calibration, tmp_path: Path) -> None:
    def spoil(rows: list[Row]) -> None:
        for row in rows:
            if row.split == "test":
                row.image, row.label = row.image * 1e6, "real"

    assert calibrate_run(run, write(tmp_path / "cache", edit=spoil), FPR).point == found.point
    with pytest.raises(HeadsError, match="no rows in split 'valid', and a run is calibrated on no others"):
        calibrate_run(run, write(tmp_path / "other", captions={"test": 130}), FPR)


def other_data(rows: list[Row]) -> None:
    for row in rows:
        row.group = f"other-{row.group}"
        row.caption = f"other {row.caption}"


def test_of_other_data_all_valid_rows_count_that_the_head_has_not_seen(run: Run, tmp_path: Path) -> None:
    seen: list[Row] = []

    def mix(rows: list[Row]) -> None:
        other_data(rows)
        of_valid = [row for row in rows if row.split == "valid"]
        of_valid[0].picture, of_valid[1].group, of_valid[2].caption = b"0 train-000-real", "valid-3", "train caption 3"
        seen.extend(of_valid[:3])

    other = write(tmp_path / "cache", seed=1, edit=mix)
    result = calibrate_run(run, other, FPR)
    assert (result.n, result.n_shared, result.note) == (3 * 130 - 3, 3, None)
    assert result.point is not None and result.point.guarantees[0].rows == "valid"
    assert result.point.guarantees[0].n == 130 - sum(row.label == "real" for row in seen)
    assert result.record.source == run.record.source


def test_where_the_cache_of_a_run_is_gone_nobody_knows_what_it_saw(run: Run, tmp_path: Path) -> None:
    other = write(tmp_path / "cache", seed=1, edit=other_data)
    gone = replace(run, record=replace(run.record, source={"cache": str(tmp_path / "gone"), "dataset": "mine"}))
    result = calibrate_run(gone, other, replace(FPR, coverage=0.9))
    assert result.sets is not None and "if none of these pictures was trained on" in result.sets.note
    assert result.note is not None and "is not there" in result.note and result.n_shared == 0
    assert result.point is not None and "if none of these pictures was trained on" in result.point.guarantees[0].note
    assert parse_point(json.loads(json.dumps(result.point.to_json())), "x") == result.point


def test_where_the_cache_of_a_run_moved_the_rows_that_it_saw_are_known(
    run: Run, store: FeatureStore, found: Calibration, tmp_path: Path
) -> None:
    copytree(store.path, tmp_path / "moved")
    gone = {**run.record.source, "cache": str(tmp_path / "gone")}
    moved = replace(run, record=replace(run.record, source=gone))
    samples = replace(store.samples, dataset="renamed")
    there = open_store(tmp_path / "moved")
    write_samples(there.cache.sample_path("renamed"), samples, root=there.path)
    with pytest.raises(HeadsError, match=r"0 have no vector .* 390 share a picture, caption or group"):
        calibrate_run(moved, open_store(tmp_path / "moved", dataset="renamed"), FPR)
    assert found.point is not None and found.point.guarantees[0].note == ""


def test_a_data_set_that_the_head_knows_under_another_name_is_refused(run: Run, store: FeatureStore) -> None:
    write_samples(store.cache.sample_path("renamed"), replace(store.samples, dataset="renamed"), root=store.path)
    with pytest.raises(HeadsError, match=r"0 have no vector .* 390 share a picture, caption or group"):
        calibrate_run(run, open_store(store.path, dataset="renamed"), FPR)


def test_each_origin_of_the_rows_is_bounded(run: Run, tmp_path: Path) -> None:
    other = write(tmp_path / "cache", seed=1, edit=other_data)
    origin = StringColumn.from_strings(["web" if n % 2 else "" for n in range(len(other))])
    write_samples(other.cache.sample_path("synthetic"), replace(other.samples, row_origin=origin), root=other.path)
    other = open_store(other.path)
    with pytest.raises(
        HeadsError,
        match=r"at 97.5 % .* needs 72 real rows of each .* found 65 without an origin, 65 of origin 'web' among",
    ):
        calibrate_run(run, other, Request(Demand(max_fpr=0.05, by_origin=True)))
    result = calibrate_run(run, other, Request(Demand(max_fpr=0.1, by_origin=True)))
    assert result.point is not None and result.point.name == "fpr-0.1-by-origin"
    assert [(o.origin, o.n) for o in result.point.guarantees[0].origins] == [("", 65), ("web", 65)]


def test_data_without_one_class_still_bound_the_other(run: Run, tmp_path: Path) -> None:
    def only_real(rows: list[Row]) -> None:
        other_data(rows)
        rows[:] = [row for row in rows if row.label == "real"]

    other = write(tmp_path / "cache", seed=1, edit=only_real)
    result = calibrate_run(run, other, FPR)
    assert result.point is not None and result.point.guarantees[0].expected is None
    new = save_calibrated(run, result.record, out=tmp_path / "new")
    assert load_run(new.path).point() == result.point
    with pytest.raises(HeadsError, match=r"needs 59 AI rows .* found 0 "):
        calibrate_run(run, other, Request(Demand(max_fpr=0.05, max_fnr=0.05)))


def test_sets_are_found_beside_a_point_or_alone(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    result = calibrate_run(run, store, Request(Demand(), coverage=0.9))
    assert result.point is None and result.sets is not None and result.sets.n == (65, 65)
    assert result.record.threshold == run.threshold and result.record.verdicts.point == "balanced"
    both = calibrate_run(run, store, Request(Demand(max_fpr=0.05), coverage=0.9))
    assert both.sets == result.sets and both.point is not None
    new = load_run(save_calibrated(run, both.record, out=tmp_path / "new").path)
    features = load_features(store, run.selections, splits=("test",), tasks=run.tasks)
    judged = new.judge(new.predict(features))
    assert judged.sets is not None and set(judged.sets) <= {"sdxl", "dalle3", "sdxl|dalle3"}
    with pytest.raises(HeadsError, match="nothing to calibrate"):
        Request(Demand())
    with pytest.raises(HeadsError, match="are of an operating point"):
        Request(Demand(by_origin=True), coverage=0.9)


def test_sets_of_other_generators_are_refused(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    sets = calibrate_run(run, store, Request(Demand(), coverage=0.9)).record
    new = save_calibrated(run, sets, out=tmp_path / "new")
    document = json.loads((new.path / "run.json").read_text())
    document["verdicts"]["sets"]["cuts"].append(0.5)
    document["verdicts"]["sets"]["n"].append(9)
    (new.path / "run.json").write_text(json.dumps(document))
    with pytest.raises(HeadsError, match="has sets of 3 generators"):
        load_run(new.path)


def test_a_run_fitted_on_views_is_calibrated_on_any_that_is_stored(tmp_path: Path) -> None:
    outputs = {"image": {"pooled": SyntheticOutput(6)}}
    views = {"jpeg:30": SyntheticView(0.8)}
    store = write_synthetic(
        tmp_path / "cache", captions={"train": 20, "valid": 130}, outputs=outputs, views=views
    ).store
    selected = choose_views(store, ["image"], views=("clean", "jpeg:30"))
    features, stored = load_fit_rows(store, selected)
    fitted = fit_run(features, parse_config({"head": "linear", "fusion": "image"}), stored=stored)
    record = build_record(fitted, store, selections=selected[0], views=("jpeg:30",))
    run = save_fitted(Run(tmp_path / "run", record, fitted.head), store, demand=Demand(max_fpr=0.05), crossed=None)
    assert load_run(run.path).point().view == "clean"
    result = calibrate_run(run, store, Request(Demand(max_fpr=0.05), view="jpeg:30"))
    assert result.point is not None and (result.point.name, result.point.view) == ("fpr-0.05-jpeg-30", "jpeg:30")
    assert result.point.guarantees[0].rows == "calibrating"
    with pytest.raises(FeatcacheError, match=r"featcache extract .* --views blur:1 "):
        calibrate_run(run, store, Request(Demand(max_fpr=0.05), view="blur:1"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"points": [{"name": "balanced"}]}, "malformed OperatingPoint"),
        ({"point": "other"}, "no operating point 'other'"),
        ({"balanced": 2}, "threshold of operating point balanced is 2"),
        ({"sets": {}}, "malformed sets"),
        ({"more": 1}, "malformed verdicts"),
    ],
)
def test_verdicts_of_somebody_else_are_checked(
    run: Run, found: Calibration, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    new = save_calibrated(run, found.record, out=tmp_path / "new")
    document = json.loads((new.path / "run.json").read_text())
    document["verdicts"] |= change
    (new.path / "run.json").write_text(json.dumps(document))
    with pytest.raises(HeadsError, match=told):
        load_run(new.path)
