"""From claimed work to batches of pictures: each is prepared once for all who want it.

Pictures of a kind that was decoded wrongly are prepared again, and with them the whole of their units: batches are then
those that they would have been with Pillow alone, so that vectors are the same to the last bit.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.dataset.manifest import Manifest
from featcache.extraction.encoding.feeds import ClaimedUnits, Failures
from featcache.extraction.encoding.job import Batch, Job
from featcache.extraction.encoding.loaded import LoadedEncoder, LoadedEncoders
from featcache.extraction.encoding.side import Side
from featcache.extraction.planning.plan import WorkUnit
from featcache.extraction.preparing.reader import Reader
from featcache.extraction.preparing.recipe import STEPS, Prepared, Reading
from featcache.pictures.checked_decoder import DECODED, Doubt, Kind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PictureFeed", "choose_sample"]

_OPEN_GROUPS = 2
_SAMPLED_SHARE = 64
_LEAST_SAMPLE = 8


@dataclass
class _Pending:
    """A batch that is not full yet."""

    encoder: LoadedEncoder
    rows: list[int] = field(default_factory=list)
    inputs: list[NDArray[np.uint8] | Tensor] = field(default_factory=list)


@dataclass
class _OpenUnits:
    """Units whose pictures are in preparation.

    ``jobs``: who wants a row, by side; ``n_left``: readings that are out; ``taken``: by whom beside Pillow some were
    made, and their kinds; ``is_void``: whether some may have other pixels than Pillow's.
    """

    units: ClaimedUnits
    jobs: dict[int, dict[int, Job]]
    n_left: int
    pending: dict[Job, _Pending] = field(default_factory=dict)
    taken: set[tuple[str, Kind]] = field(default_factory=set)
    is_void: bool = False


class PictureFeed:
    """Each picture is read once for all jobs of its group that want it, or once by each who makes a part of that.

    Parameters
    ----------
    manifest : Manifest
        Where the pictures are.
    sides : sequence of Side
        Their numbers are those of the reader's products.
    reader : Reader
        Prepares them.
    encoders : LoadedEncoders
        Tell how large a batch is.
    failures : Failures
        Told of what cannot be prepared, and of a decoder that is not trusted.
    """

    def __init__(
        self, manifest: Manifest, sides: Sequence[Side], *, reader: Reader, encoders: LoadedEncoders, failures: Failures
    ) -> None:
        self.busy = dict.fromkeys(STEPS, 0.0)
        self.n_contents = 0
        self.ways: Counter[str] = Counter()
        self.workers = str(reader)
        self.hint = reader.hint
        self._samples = manifest.samples
        self._sides = sides
        self._reader = reader
        self._encoders = encoders
        self._failures = failures
        self._open: dict[int, _OpenUnits] = {}
        self._again: deque[ClaimedUnits] = deque()
        self._doubted: set[tuple[str, Kind | None, bool]] = set()
        self._wrong: set[tuple[str, Kind | None]] = set()

    @property
    def is_ready(self) -> bool:
        """True: whoever prepares pictures is to be kept at work."""
        return True

    def batches(self, groups: Iterator[ClaimedUnits]) -> Iterator[Batch | None]:
        """Yield full batches in the order of the pictures, and at the end of a group the rest of each of its jobs."""
        for prepared in self._reader.prepare(self._readings(groups)):
            number = prepared.reading.group
            group = self._open[number]
            self._note(prepared, group)
            if not group.is_void:
                yield from self._use(prepared, group)
            group.n_left -= 1
            if not group.n_left:
                del self._open[number]
                self.n_contents += 0 if group.is_void else len(group.jobs)
                yield from self._drop(group) if group.is_void else self._rest(group)

    def _note(self, prepared: Prepared, group: _OpenUnits) -> None:
        """Count what was done, by whom."""
        for step, seconds in zip(STEPS, prepared.seconds, strict=True):
            self.busy[step] += seconds
        way = prepared.way
        if way is None:
            return
        self.ways[str(way)] += 1
        if way.kind is not None:
            self._note_maker(way.maker, way.kind, prepared, group)
        if way.doubt is not None:
            self._doubt(way.doubt)

    def _note_maker(self, maker: str, kind: Kind, prepared: Prepared, group: _OpenUnits) -> None:
        """Take down who made a picture beside Pillow: it is told of the vectors, and what is void hangs on it."""
        if (maker, kind) not in group.taken:
            group.taken.add((maker, kind))
            self._look(group)
        jobs = group.jobs[prepared.reading.row]
        for side in prepared.inputs:
            if maker not in jobs[side].decoders:
                jobs[side].decoders[maker] = self._reader.decoders[maker]

    def _doubt(self, doubt: Doubt) -> None:
        """Tell once of each kind that a decoder is not trusted with."""
        found = doubt.decoder or doubt.reason, doubt.kind, doubt.is_wrong
        if found not in self._doubted:
            self._doubted.add(found)
            if doubt.is_wrong:
                self._wrong.add((doubt.decoder, doubt.kind))
            for group in self._open.values():
                self._look(group)
            self._failures.doubt(self._line(doubt))

    def _line(self, doubt: Doubt) -> str:
        if not doubt.decoder:
            return doubt.reason
        name = f"{doubt.decoder} {self._reader.decoders[doubt.decoder]}"
        who, does = ("resizer", "resizes") if doubt.is_resizer else ("decoder", "decodes")
        instead = "Pillow" if doubt.decoder in self._reader.recipe.decoders else "the CPU"
        what = "these again, and all" if doubt.is_wrong else "these" if doubt.kind else "all"
        return f"{who} {name} {doubt.reason}: {instead} {does} {what} from now on"

    def _look(self, group: _OpenUnits) -> None:
        """See to it that nothing more of a group is published if some pictures may have other pixels than Pillow's."""
        if not group.is_void and any(self._is_wrong(*taken) for taken in group.taken):
            group.is_void = True
            for job in group.units.jobs:
                job.is_void = True

    def _is_wrong(self, maker: str, kind: Kind) -> bool:
        """Tell whether what somebody made of a kind may have other pixels: a card's all, where it resizes wrongly."""
        is_cards = maker not in self._reader.recipe.decoders
        return (maker, kind) in self._wrong or (is_cards and any(wrong == DECODED for _, wrong in self._wrong))

    def _use(self, prepared: Prepared, group: _OpenUnits) -> Iterator[Batch]:
        """Record what could not be prepared, and yield batches that are full with what could."""
        row = prepared.reading.row
        jobs = group.jobs[row]
        self._failures.try_row(row)
        for side, fault in prepared.faults.items():
            self._failures.fail(jobs[side], row, fault)
        self._failures.check()
        for side, pixels in prepared.inputs.items():
            job = jobs[side]
            pending = group.pending.get(job)
            if pending is None:
                pending = _Pending(self._encoders.of(self._sides[side].plan.spec, pixels))
                group.pending[job] = pending
            pending.rows.append(row)
            pending.inputs.append(pixels)
            if len(pending.rows) >= pending.encoder.n_rows:
                del group.pending[job]
                yield Batch(job, np.array(pending.rows, np.int64), pending.inputs, is_last=False)

    def _rest(self, group: _OpenUnits) -> Iterator[Batch]:
        for job in group.units.jobs:
            pending = group.pending.get(job)
            rows, inputs = (pending.rows, pending.inputs) if pending else ([], [])
            yield Batch(job, np.array(rows, np.int64), inputs, is_last=True)

    def _drop(self, group: _OpenUnits) -> Iterator[Batch]:
        """Begin the units of a group again, and say of their jobs that what was encoded of them is void."""
        for job in group.units.jobs:
            yield Batch(job, np.empty(0, np.int64), (), is_last=False)
        jobs = tuple(self._sides[job.side].again(job) for job in group.units.jobs)
        self._again.append(ClaimedUnits(group.units.number, jobs))

    def _readings(self, groups: Iterator[ClaimedUnits]) -> Iterator[Reading | None]:
        """Yield the readings of one group after the other; None while enough groups are in work."""
        while True:
            while len(self._open) >= _OPEN_GROUPS:
                yield None
            if self._again:
                yield from self._open_group(self._again.popleft())
            elif (group := next(groups, None)) is not None:
                self._encoders.foresee(self._sides[job.side].plan.spec for job in group.jobs)
                yield from self._open_group(group)
            elif self._open:  # some of it may have to be read again
                yield None
            else:
                return

    def _open_group(self, group: ClaimedUnits) -> Iterator[Reading]:
        jobs: dict[int, dict[int, Job]] = {}
        for job in group.jobs:
            for row in job.unit.contents.tolist():
                jobs.setdefault(row, {})[job.side] = job
        divide = cache(self._reader.divide)
        wanted = [(row, part) for row in sorted(jobs) for part in divide(tuple(jobs[row]))]
        self._open[group.number] = _OpenUnits(group, jobs, len(wanted))
        yield from self._reader.recipe.readings(
            self._sides[0].table,
            self._samples,
            wanted,
            group=group.number,
            sampled=choose_sample([job.unit for job in group.jobs]),
        )


def choose_sample(units: Sequence[WorkUnit]) -> frozenset[int]:
    """Choose pictures of a group that are decoded both ways: one of 64, at least 8, the same ones in every run.

    They are from all over the units, as what is done of these may be published before the rest; beside them the first
    picture of each unit, so that what is published first of it has one.
    """
    rows = np.unique(np.concatenate([unit.contents for unit in units]))
    n = min(len(rows), max(_LEAST_SAMPLE, len(rows) // _SAMPLED_SHARE))
    rng = np.random.default_rng(int(units[0].name, 16))
    first = {int(unit.contents[0]) for unit in units}
    return frozenset(first.union(int(rng.choice(part)) for part in np.array_split(rows, n)))
