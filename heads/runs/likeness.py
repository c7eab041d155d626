"""What a run keeps of its training pictures, to tell what is unlike them: an attachment, read with suspicion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as format_safetensors

from featcache import link_rows
from heads.data.features import Features
from heads.data.row_source import RowSource
from heads.data.tasks import IntArray, Targets, Task, joint_tasks
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.protocol import Prediction
from heads.runs.point_scores import POINT_SCORES_FILE, format_point_scores, load_point_scores
from heads.verdicts.mixture import KnownScores
from heads.verdicts.novelty import MAX_AXES, Novelty, describe, one_a_group
from heads.verdicts.points import OperatingPoint

__all__ = [
    "LIKENESS_FILE",
    "LIKENESS_FILES",
    "MAX_BYTES",
    "Likeness",
    "build_likeness",
    "know_scores",
    "load_likeness",
    "parse_likeness",
]

LIKENESS_FILE = "novelty.safetensors"
LIKENESS_FILES = (LIKENESS_FILE, POINT_SCORES_FILE)
MAX_BYTES = 8 * 2**20
_MAX_HELD_OUT, _MAX_KNOWN = 2**16, 2**13
_SHAPES = {
    "axes": (np.float32, 2),
    "centres": (np.float32, 2),
    "held_out": (np.float32, 1),
    "p_ai": (np.float32, 1),
    "y": (np.int8, 1),
    "group": (np.int64, 1),
}


@dataclass(frozen=True)
class Likeness:
    """What pictures like those of training look like to a head.

    Attributes
    ----------
    novelty : Novelty
        Of their vectors.
    known : KnownScores
        Their scores: of all of validation.
    of_points : mapping of str to KnownScores
        By operating point, of those that were calibrated on other rows, or in another view: the scores of these.
    """

    novelty: Novelty
    known: KnownScores
    of_points: Mapping[str, KnownScores] = field(default_factory=dict)

    def known_of(self, point: str) -> KnownScores:
        """Return the scores that a set is compared with where an operating point decides."""
        return self.of_points.get(point, self.known)

    def with_point(self, point: str, scores: KnownScores) -> Likeness:
        """Return the same with the scores of one operating point more; a class that they lack is of validation."""
        scores = scores.complete(self.known).thin(_MAX_KNOWN)
        return replace(self, of_points={**self.of_points, point: scores})

    def to_files(self) -> dict[str, bytes]:
        """Return the attachments of a run, by name."""
        points = {POINT_SCORES_FILE: format_point_scores(self.of_points)} if self.of_points else {}
        return {LIKENESS_FILE: self.to_bytes(), **points}

    def to_bytes(self) -> bytes:
        """Return the safetensors file."""
        known, novelty = self.known, self.novelty
        arrays = {
            "axes": novelty.axes,
            "centres": novelty.centres,
            "held_out": novelty.held_out,
            "p_ai": known.p_ai.astype(np.float32),
            "y": known.y.astype(np.int8),
            "group": known.group.astype(np.int64),
        }
        return format_safetensors({name: np.ascontiguousarray(values) for name, values in arrays.items()})


def build_likeness(
    source: RowSource, targets: Targets, fit_rows: IntArray, *, held: Features, held_rows: IntArray, known: KnownScores
) -> Likeness:
    """Describe the rows that a head was fitted on, and how far from them those are that it was calibrated on.

    Parameters
    ----------
    source, targets
        Vectors and targets of all rows.
    fit_rows : int array
        Those that were fitted, which are described in all views.
    held : Features
        The calibrating rows, and ``held_rows``, their places in the source; they are measured in the first view.
    known : KnownScores
        As `know_scores` gives them.
    """
    places = held_rows[one_a_group(link_rows(held))[:_MAX_HELD_OUT]]
    novelty = describe(source, fit_rows, _classes(targets, held.tasks), places)
    return Likeness(novelty, known.thin(_MAX_KNOWN))


def know_scores(parts: Mapping[str, Features], predictions: Mapping[str, Prediction]) -> KnownScores:
    """Return the scores of both parts of validation, which share no group.

    The selecting part chose a strength or an epoch, which moves its scores by less than chance does, and with it there
    are twice as many groups to tell chance by. Cross-fitted scores of training rows are those of other heads, on scales
    of their own.
    """
    found: list[KnownScores] = []
    n_groups = 0
    for name, part in parts.items():
        a, groups = joint_tasks(part.tasks)[0].name, link_rows(part)
        rows = part.targets.applies[a]
        p_ai = predictions[name].proba[a][rows].astype(np.float32)
        found.append(KnownScores(p_ai, part.targets.y[a][rows], n_groups + groups[rows]))
        n_groups += len(np.unique(groups))
    p_ai, y, group = (np.concatenate([getattr(each, name) for each in found]) for name in ("p_ai", "y", "group"))
    return KnownScores(p_ai, y, group)


def load_likeness(
    contents: Contents, files: Collection[str], *, n_columns: int, points: Collection[OperatingPoint]
) -> Likeness | None:
    """Read the attachments of a run with these operating points, if they are among its files."""
    if LIKENESS_FILE not in files:
        return None
    data = contents.read(LIKENESS_FILE, limit=MAX_BYTES)
    found = parse_likeness(data, str(contents.folder / LIKENESS_FILE), n_columns=n_columns)
    return replace(found, of_points=load_point_scores(contents, files, [point.name for point in points]))


def parse_likeness(data: bytes, where: str, *, n_columns: int) -> Likeness:
    """Read what `Likeness.to_bytes` wrote; it is not trusted.

    Parameters
    ----------
    data : bytes
    where : str
        Its name, for messages.
    n_columns : int
        Columns of the vectors that the head takes.
    """
    try:
        found = parse_safetensors(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise HeadsError(f"{where} is not a safetensors file of plain arrays: {error}") from error
    if set(found) != set(_SHAPES):
        raise HeadsError(f"{where} holds {sorted(found)!r:.200}, expected {sorted(_SHAPES)!r}")
    for name, (dtype, n_dims) in _SHAPES.items():
        values = found[name]
        if values.dtype != dtype or values.ndim != n_dims or not np.isfinite(values).all():
            raise HeadsError(f"{where} has {values.dtype} {values.shape!r} as {name!r}, or values that are not finite")
    axes, centres, p_ai, y = (found[name] for name in ("axes", "centres", "p_ai", "y"))
    is_sound = (
        len(axes) == n_columns
        and 0 < axes.shape[1] <= MAX_AXES
        and centres.shape[1] == axes.shape[1]
        and len(centres) > 0
        and len(p_ai) == len(y) == len(found["group"])
        and bool(((p_ai >= 0) & (p_ai <= 1)).all())
        and bool(((y == 0) | (y == 1)).all())
    )
    if not is_sound:
        raise HeadsError(f"{where} has arrays that do not fit a head of {n_columns} columns, or each other")
    novelty = Novelty(axes, centres, np.sort(found["held_out"]))
    return Likeness(novelty, KnownScores(p_ai, y.astype(np.int64), found["group"]))


def _classes(targets: Targets, tasks: tuple[Task, ...]) -> IntArray:
    """Return 0 real, 1 AI by an unknown generator, 2 + k generator k."""
    a, b = joint_tasks(tasks)
    found = np.where(targets.applies[a.name] & (targets.y[a.name] == 0), 0, 1)
    if b is not None:
        known = targets.applies[b.name]
        found[known] = 2 + targets.y[b.name][known]
    return found.astype(np.int64)
