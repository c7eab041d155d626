"""Train many heads in one pass over one matrix: whole grids at the price of a few runs.

Heads that see the same batches (the same rows in the same order) form a lane: a batch is gathered once for all of
them. Those of a lane that have the same network are stacked into a pack, whose step is a few wide products.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from featcache import parse_memory
from heads.data.columns import Columns
from heads.data.fusion import fusion_modalities
from heads.data.row_source import RowSource, as_source
from heads.data.tasks import Targets, Task
from heads.errors import HeadsError
from heads.head.checks import check_labels
from heads.head.scaling import Standardizer
from heads.mlp.config import MlpConfig
from heads.mlp.inputs import Inputs
from heads.mlp.lane import Lane, Member
from heads.mlp.matrix import Matrix, Resident, Streamed
from heads.mlp.network import FittedNetwork, Network
from heads.mlp.order import SHARED_ORDER, RowOrder
from heads.mlp.precision import Precision, matrix_dtype
from heads.mlp.threads import one_thread_if_tiny

__all__ = ["HeadSpec", "PackProgress", "fit_pack"]

IntArray = NDArray[np.int64]
_LEAST_WINDOW = 4096
_ROW_BYTES = 64  # order, labels and places of a row

PackProgress = Callable[[int, Mapping[str, Any]], None]
"""Called with a head's place among the specs and its record, after each of its epochs."""


@dataclass(frozen=True)
class HeadSpec:
    """One head to be trained.

    Attributes
    ----------
    config : MlpConfig
    seed : int
        Of the first weights and of the order of the rows.
    fit_rows : int array (n,)
        Rows of X that it may learn from, standardisation included; those without any label are left out.
    select_rows : int array (m,)
        Rows of X that choose its epoch, in all views.
    """

    config: MlpConfig
    seed: int
    fit_rows: IntArray
    select_rows: IntArray


def fit_pack(
    X: NDArray[Any] | RowSource,
    targets: Targets,
    specs: Sequence[HeadSpec],
    *,
    tasks: Sequence[Task],
    columns: Columns | None = None,
    device: str = "cpu",
    precision: Precision = "auto",
    order: Literal["own", "shared"] = "own",
    memory: int | str | None = None,
    progress: PackProgress | None = None,
) -> list[FittedNetwork]:
    """Train heads on rows of one matrix; each as if it were alone, to rounding.

    Parameters
    ----------
    X : array (n, d) or (n_views, n, d), float32 or float16; or RowSource
        Raw vectors, of which each head standardises its own columns by its own ``fit_rows``, and turns them to their
        principal axes if its config says so. With several views each row takes a random one in each epoch.
    targets : Targets
        Of the rows of X.
    specs : sequence of HeadSpec
    tasks : sequence of Task
    columns : Columns, optional
        What stands where in X: a head takes the columns of its fusion. Default: every head takes all of them, which
        is refused for a fusion with a structure.
    device : str
        ``"cpu"`` or ``"cuda"``: where the matrix and the heads are.
    precision : {"auto", "float32", "bfloat16"}
        Of the matrix and the wide products; the weights are float32. ``"auto"``: bfloat16 where the device multiplies
        it fast.
    order : {"own", "shared"}
        Whether each seed has its own order of rows. Sharing one is faster if seeds are many, and the spread over
        seeds then lacks what the order contributes.
    memory : int or str, optional
        Bytes, or e.g. ``"2GB"``: if the matrix needs more than half of it, rows are read in windows, in every epoch.
    progress : callable, optional

    Returns
    -------
    list of FittedNetwork
        In the order of ``specs``.
    """
    source, tasks = as_source(X), tuple(tasks)
    columns = columns or Columns.unknown(source.n_columns)
    if columns.width != source.n_columns:
        raise HeadsError(f"X has {source.n_columns} columns, the layout describes {columns.width}")
    if source.n_rows != len(targets):
        raise HeadsError(f"X has {source.n_rows} rows, the targets have {len(targets)}")
    trainer = _Trainer(source, targets, tasks, columns, device, matrix_dtype(device, precision), order, memory)
    fitted: dict[int, FittedNetwork] = {}
    for group in _group(range(len(specs)), lambda k: (_digest(specs[k].fit_rows), trainer.components(specs[k]))):
        with one_thread_if_tiny(trainer.network(specs[k]) for k in group):
            fitted |= trainer.train({k: specs[k] for k in group}, progress)
    return [fitted[k] for k in range(len(specs))]


@dataclass(frozen=True)
class _Trainer:
    """What all heads of a call have in common."""

    source: RowSource
    targets: Targets
    tasks: tuple[Task, ...]
    columns: Columns
    device: str
    dtype: torch.dtype
    order: str
    memory: int | str | None

    def train(self, specs: Mapping[int, HeadSpec], progress: PackProgress | None) -> dict[int, FittedNetwork]:
        """Train heads that learn from the same rows, and see the same inputs."""
        rows = np.asarray(next(iter(specs.values())).fit_rows, dtype=np.int64)
        for spec in specs.values():
            check_labels(self.tasks, self.targets.select(rows), self.targets.select(spec.select_rows))
        rows = rows[np.any([self.targets.applies[task.name][rows] for task in self.tasks], axis=0)]
        components = self.components(next(iter(specs.values())))
        inputs = Inputs.fit(self.source, rows, self.columns, components=components)
        matrix, window = self._matrix(inputs, [rows, *(spec.select_rows for spec in specs.values())])
        fitted: dict[int, FittedNetwork] = {}
        for lane in _group(specs, lambda k: self._lane_key(specs[k])):
            members = {k: self._member(k, specs[k], inputs, n_rows=len(rows)) for k in lane}
            first = specs[lane[0]]
            seed = first.seed if self.order == "own" else SHARED_ORDER
            order = RowOrder(torch.from_numpy(rows), seed=seed, n_views=self.source.n_views, window=window)
            epochs = Lane(
                matrix,
                self.targets,
                list(members.values()),
                order=order,
                select_rows=np.asarray(first.select_rows, dtype=np.int64),
                device=self.device,
                dtype=self.dtype,
            ).run()
            for member in epochs:
                if progress is not None:
                    progress(member.place, member.course.history[-1])
            fitted |= {k: _finish(member, inputs) for k, member in members.items()}
        return fitted

    def _lane_key(self, spec: HeadSpec) -> tuple[Any, ...]:
        seed = spec.seed if self.order == "own" else None
        return seed, spec.config.batch_size, spec.config.balance, _digest(spec.select_rows)

    def components(self, spec: HeadSpec) -> int:
        """Return to how many axes of each modality the columns of a head are turned; 0: to none."""
        blocks = [projection.n_blocks for projection in self.network(spec).projections]
        return 0 if any(n > 1 for n in blocks) else spec.config.components

    def network(self, spec: HeadSpec) -> Network:
        """Return the network of a head, of raw columns."""
        return Network.build(spec.config, self.tasks, self.columns.of(_modalities(self.columns, spec.config)))

    def _member(self, place: int, spec: HeadSpec, inputs: Inputs, *, n_rows: int) -> Member:
        modalities = _modalities(self.columns, spec.config)
        network = Network.build(spec.config, self.tasks, inputs.columns.of(modalities))
        span = inputs.columns.span(modalities)
        return Member(place, network, spec.config, span=span, seed=spec.seed, n_rows=n_rows)

    def _matrix(self, inputs: Inputs, rows: Sequence[IntArray]) -> tuple[Matrix, int | None]:
        """Return a matrix that has some rows, and the rows of its window (None: it is resident)."""
        source = self.source
        needed = np.zeros(source.n_rows, dtype=np.bool_)
        for part in rows:
            needed[part] = True
        n_needed, width = int(np.count_nonzero(needed)), inputs.columns.width * self.dtype.itemsize
        # The other half is left to the heads and to what is read at a time.
        room = None if self.memory is None else parse_memory(self.memory) // 2 - _ROW_BYTES * n_needed
        if room is None or source.n_views * n_needed * width <= room:
            kept = np.flatnonzero(needed)
            return Resident(source, kept, inputs=inputs, device=self.device, dtype=self.dtype), None
        window = max(room // width, _LEAST_WINDOW)
        return Streamed(source, inputs=inputs, window=window, device=self.device, dtype=self.dtype), window


def _modalities(columns: Columns, config: MlpConfig) -> tuple[str, ...]:
    """Return those that a head takes, which have to be there: all, where nothing is known of the columns."""
    modalities = fusion_modalities(config.fusion) if columns.is_known else columns.modalities
    columns.span(modalities)
    return modalities


def _finish(member: Member, inputs: Inputs) -> FittedNetwork:
    """Return a trained head as one of raw columns: the turn of its inputs goes into the weights that they meet."""
    course, modalities, weights = member.course, member.network.columns.modalities, dict(member.course.best)
    span = inputs.raw.span(modalities)
    network, turn = replace(member.network, columns=inputs.raw.of(modalities)), inputs.turn(modalities)
    if turn is not None:
        for seen, raw in zip(member.network.projections, network.projections, strict=True):
            back = torch.from_numpy(turn[raw.start : raw.stop, seen.start : seen.stop]).mT
            weights[f"{seen.name}.weight"] = weights[f"{seen.name}.weight"] @ back
    return FittedNetwork(
        network=network,
        scaler=Standardizer(inputs.scaler.mean[span], inputs.scaler.inverse_scale[span]),
        weights=weights,
        history=tuple(course.history),
        best_epoch=course.best_epoch,
        seconds=course.seconds,
        diverged=course.diverged,
    )


def _group(keys: Iterable[int], rule: Callable[[int], Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for k in keys:
        groups.setdefault(rule(k), []).append(k)
    return list(groups.values())


def _digest(rows: IntArray) -> bytes:
    return sha256(np.ascontiguousarray(rows, dtype=np.int64).tobytes()).digest()
