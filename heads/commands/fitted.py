"""What commands say of a run that was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heads.commands.guarantee_lines import print_folds, print_point
from heads.commands.render import console, probability, safe, score, score_table, vectors_of
from heads.head.balance import balance_of

if TYPE_CHECKING:
    from heads.runs.run import Run
    from heads.verdicts.maps import ProbabilityMaps

__all__ = ["fitted_summary", "print_fitted"]


def fitted_summary(run: Run) -> dict[str, Any]:
    """Return what the JSON form of a command says of a new run."""
    record = run.record
    return {
        "run": str(run.path),
        "config": {**vars(record.config), "settings": dict(record.config.settings)},
        "classes": {task.name: list(task.classes) for task in run.tasks},
        "rows": dict(record.rows),
        "threshold": record.threshold,
        "threshold_note": record.threshold_note,
        "verdicts": record.verdicts.to_json(),
        "validation": dict(record.validation),
        "folds": record.folds,
        "n_steps": len(record.history),
        "notes": list(_notes(run)),
    }


def print_fitted(run: Run) -> None:
    """Say for people what came of a fit."""
    from heads.runs.detection import model_place
    from heads.verdicts.points import BALANCED

    record, rows, maps = run.record, run.record.rows, run.record.verdicts.maps
    extra = f" and {rows['pseudo']:,} pseudo-labelled" if rows["pseudo"] else ""
    members = record.config.settings.get("members")
    made_of = f" of {safe(', '.join(members))}" if members else ""
    console.print(
        f"Fitted [bold]{record.config.head}[/]{made_of} on {record.config.fusion} vectors: "
        f"{rows['train']:,} training rows{extra}, {rows['valid']:,} validation rows"
    )
    for modality, producer in record.producers.items():
        vectors, width = vectors_of(producer.selection), sum(producer.selection.widths)
        maker = "" if modality == "spectral" else f" of {model_place(producer)}"
        console.print(f"  {modality}: {safe(vectors + maker)}, {width:,} columns", soft_wrap=True)
    _print_counts(run)
    selecting, calibrating = record.validation["selecting"], record.validation["calibrating"]
    console.print(
        score_table({f"selecting ({selecting['n']:,})": selecting, f"calibrating ({calibrating['n']:,})": calibrating})
    )
    balanced = probability(run.point(BALANCED).ai_from)
    console.print(f"Score of the selecting rows {score(selecting['score'])}")
    console.print(f"Operating point {BALANCED}: AI if raw P(AI) ≥ {balanced}")
    console.print(f"Threshold: {safe(record.verdicts.threshold_rule)}")
    if maps.prior is not None:
        weighed = "" if balance_of(record.config.settings) == "none" else ", as they weigh"
        console.print(f"Training rows: {maps.prior:.1%} AI{weighed}, for which probabilities are given")
    console.print(_maps_line(maps))
    for note in _notes(run):
        console.print(f"[yellow]Note:[/] {safe(note)}")
    if record.verdicts.points:
        print_point(run.point(), n_points=len(record.verdicts.points))
        console.print(f"{safe(run.point().name)} decides; [bold]--point {BALANCED}[/] takes the other threshold")
    if record.folds:
        print_folds(record.folds)
    console.print(f"Saved [bold]{safe(run.path)}[/]", soft_wrap=True)


def _notes(run: Run) -> tuple[str, ...]:
    """Return what is better known of a new run: of its validation, and of its head."""
    from heads.head.protocol import Noting

    of_validation, head = run.record.validation["note"], run.head
    own = head.notes_ if isinstance(head, Noting) else ()
    return (*filter(None, [of_validation]), *own)


def _maps_line(maps: ProbabilityMaps) -> str:
    """Say through which maps raw scores go."""
    of_a = f"A slope {maps.a.slope:.3g}, intercept {maps.a.intercept:.3g}" if maps.a else ""
    of_b = f"B temperature {maps.b:.3g}" if maps.b else ""
    fitted = "; ".join(filter(None, (of_a, of_b)))
    return f"Maps: {fitted or 'none, raw scores are as good'}"


def _print_counts(run: Run) -> None:
    rows, generators = run.record.rows, [name for task in run.tasks[1:] for name in task.classes]
    missing = f"no vector of {' or '.join(run.record.producers)}, which fusion {run.record.config.fusion} needs"
    reasons = {
        "train_refused": f"training rows refused: {missing}",
        "valid_refused": f"validation rows refused: {missing}",
        "train_unlabelled": "training rows left out: no label",
        "valid_unlabelled": "validation rows left out: no label",
        "unseen": "rows of a generator that training does not show: for A only",
    }
    for name, reason in reasons.items():
        if rows[name]:
            console.print(f"[yellow]{rows[name]:,}[/] {reason}")
    what = safe(", ".join(generators)) if generators else "none: fewer than two are known, task B is left out"
    console.print(f"Generators: {what}")
