"""What evaluate and compare are asked for: views, slices, and files of scores that take part like runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featcache.console import notes, safe
from heads.commands.folders import check_encoders, open_run_store
from heads.commands.usage import usage_of
from heads.errors import HeadsError
from heads.files.places import is_same

if TYPE_CHECKING:
    from featcache import FeatureStore
    from heads.evaluation.detectors import RunDetector, ScoreFile
    from heads.runs.run import Run

__all__ = ["ALL_VIEWS", "open_detector", "open_scores", "parse_slices", "parse_views", "seen_rows"]

ALL_VIEWS = "all"
_TRAIN_ROWS = ("train", "train_refused", "train_unlabelled")


def open_detector(
    run: Path,
    cache: Path | None,
    *,
    dataset: str | None,
    encoders: Mapping[str, str | None] | None = None,
    check: bool,
    progress: Callable[[int, int], None] | None,
) -> RunDetector:
    """Open a run and the cache that it is to be scored on."""
    from heads.evaluation.detectors import RunDetector
    from heads.runs.run import load_run

    loaded = load_run(run)
    store = open_run_store(loaded, cache, dataset=dataset, check=check, progress=progress)
    check_encoders(loaded, store, encoders or {})
    if note := _resplit_note(loaded, store):
        notes.print(f"[yellow]Note:[/] {safe(note)}")
    return RunDetector(loaded, store)


def _resplit_note(run: Run, store: FeatureStore) -> str | None:
    """Say that the data set of a run has other train rows than when it was fitted; None where that cannot be told."""
    source, rows = run.record.source, run.record.rows
    is_own = store.dataset == source["dataset"] and is_same(store.path, Path(source["cache"]))
    if not is_own or not rows.keys() >= set(_TRAIN_ROWS):
        return None
    before, now = sum(rows[name] for name in _TRAIN_ROWS), len(store.row_numbers("train"))
    if before == now:
        return None
    return (
        f"data set {store.dataset} has {now:,} train rows, when {run.path} was fitted it had {before:,}: rows of other "
        "splits may be among those that it learned from"
    )


def open_scores(given: Sequence[str], *, has_run: bool) -> list[ScoreFile]:
    """Read the files of ``--scores NAME=F.csv``."""
    from heads.evaluation.detectors import read_scores

    if not given and not has_run:
        raise HeadsError("nothing is to be scored: name the folder of a RUN, or --scores NAME=F.csv")
    found: list[ScoreFile] = []
    for text in given:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            message = f"{text!r:.80} is not NAME=F.csv, e.g. --scores other=scores.csv"
            raise typer.BadParameter(message, param_hint="--scores")
        if name in [each.name for each in found]:
            raise HeadsError(f"--scores {name!r:.80} is named twice: call one otherwise")
        found.append(read_scores(name, Path(path)))
    return found


def seen_rows(split: str) -> str:
    """Say that heads were made with the rows of a split."""
    return f"[yellow]Note:[/] rows of {split} took part in making heads; test has those that no head saw"


def parse_slices(given: str | None) -> tuple[str, ...]:
    """Read ``--by``."""
    from heads.evaluation.truth import SLICES

    names = tuple(name.strip() for name in given.split(",")) if given else ()
    unknown = [name for name in names if name not in SLICES]
    if unknown:
        message = f"{unknown[0]!r:.80} is none of {', '.join(SLICES)}"
        raise typer.BadParameter(message, param_hint="--by")
    return tuple(dict.fromkeys(names))


def parse_views(view: str | None, views: str | None) -> list[str]:
    """Read ``--view`` or ``--views``; neither: none is named. ``all`` that are stored stands alone."""
    if view is not None and views is not None:
        raise HeadsError("--view and --views are both given: name all views in --views")
    if views is None:
        return [] if view is None else [view]
    if views == ALL_VIEWS:
        return [ALL_VIEWS]
    from featcache import expand_views

    with usage_of("--views", views):
        return [str(name) for name in expand_views(views)]
