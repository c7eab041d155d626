"""What remains to be encoded: work units, the same ones whenever the same manifest meets the same cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import Failure, failed_keys, read_failures
from featcache.cache.folder import Cache, unit_name
from featcache.cache.samples import SampleTable
from featcache.encoders.base import EncoderSpec
from featcache.identity.key_index import KeyIndex
from featcache.identity.terms import CONTENT_OF
from featcache.store.near_misses import NearMiss, near_misses
from featcache.store.shard_set import ShardSet

__all__ = ["Plan", "WorkUnit", "build_plan"]


@dataclass(frozen=True)
class WorkUnit:
    """Contents that are encoded and published together.

    Attributes
    ----------
    number : int
        Place among the units into which all contents are cut, from 0: units of one number, of any encoder and view,
        are worked on together.
    name : str
        Derived from keys, view and outputs: two processes that plan the same unit give it the same name.
    contents : (m,) int64
        Rows of the sample table, the first of each content.
    outputs : tuple of str
        What is missing of these contents.
    """

    number: int
    name: str
    contents: NDArray[np.int64]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The work of one encoder.

    Attributes
    ----------
    spec : EncoderSpec
        The encoder.
    view : str
        The perturbation.
    units : tuple of WorkUnit
        In the order of the manifest.
    n_contents, n_cached, n_failed, n_new : int
        Unique contents of this side; those whose outputs are all there; those that failed before and are left alone;
        those that were never tried and are left alone, because only failures are to be tried again.
    earlier : tuple of Failure
        Failures on record.
    misses : tuple of NearMiss
        Other producers that hold contents which are to be encoded.
    n_other_parts : int
        Contents that other parts of a division have to encode.
    failed_before : tuple of str
        Content keys, 64 hex digits, of the ``n_failed``.
    """

    spec: EncoderSpec
    view: str
    units: tuple[WorkUnit, ...]
    n_contents: int
    n_cached: int
    n_failed: int
    n_new: int
    earlier: tuple[Failure, ...]
    misses: tuple[NearMiss, ...]
    n_other_parts: int = 0
    failed_before: tuple[str, ...] = ()

    @property
    def n_todo(self) -> int:
        """Contents to encode."""
        return sum(len(unit.contents) for unit in self.units)

    def only(self, takes: Callable[[int], bool]) -> Plan:
        """Return the plan with the units of some numbers alone; the others are for other parts of a division."""
        units = tuple(unit for unit in self.units if takes(unit.number))
        left = self.n_todo - sum(len(unit.contents) for unit in units)
        return replace(self, units=units, n_other_parts=self.n_other_parts + left)


def build_plan(
    cache: Cache,
    spec: EncoderSpec,
    table: SampleTable,
    *,
    view: str,
    unit_rows: int,
    retry: Collection[str] | None = None,
) -> Plan:
    """Plan what one encoder has to do for the samples of a table.

    All contents, cached or not, are cut into units of ``unit_rows`` in the order of the manifest, and what is cached
    is left out of each; where different outputs are missing, each combination is a unit. So an interrupted
    extraction, planned again, has the very units that it had left, with the same batches in them: its vectors are
    those of an uninterrupted one, bit for bit.

    Parameters
    ----------
    cache : Cache
        Where to look for what is there.
    spec : EncoderSpec
        The encoder and its outputs.
    table : SampleTable
        The samples.
    view : str
        The perturbation.
    unit_rows : int
        Contents a unit, that is rows a shard.
    retry : collection of str, optional
        None: plan what is missing and has not failed. Otherwise plan only contents that failed before, and what the
        samples that failed before, or are named here, have now.
    """
    content = CONTENT_OF[spec.modality]
    rows = table.first_rows(content)
    keys = table.keys(content)[rows]
    # Before the shards: the shard of a unit is there before its failures are on record, so that a unit which another
    # writer publishes meanwhile is planned whole or not at all.
    earlier = read_failures(cache, spec.fingerprint, view)
    stored = ShardSet.open(cache, spec.fingerprint, view)
    missing = np.stack([~stored.contains(name, keys) for name in spec.outputs], axis=1)
    complete = ~missing.any(axis=1)
    failed = KeyIndex.from_shards([failed_keys(earlier)]).contains(keys) & ~complete
    if retry is None:
        left_alone = failed
    else:
        names = {failure.sample_id for failure in earlier}.union(retry)
        left_alone = ~failed & ~complete & ~np.array([table.sample_id[int(i)] in names for i in rows], bool)
    missing[left_alone] = False
    units: list[WorkUnit] = []
    for number, start in enumerate(range(0, len(rows), unit_rows)):
        chunk = slice(start, start + unit_rows)
        units += _units_of(number, rows[chunk], keys[chunk], missing[chunk], (spec.outputs, view))
    return Plan(
        spec,
        view,
        tuple(units),
        n_contents=len(rows),
        n_cached=int(complete.sum()),
        n_failed=int(left_alone.sum()) if retry is None else 0,
        n_new=0 if retry is None else int(left_alone.sum()),
        earlier=earlier,
        misses=near_misses(cache, spec.fingerprint, view, keys[missing.any(axis=1)]),
        failed_before=tuple(bytes(key).hex() for key in keys[left_alone]) if retry is None else (),
    )


def _units_of(
    number: int,
    rows: NDArray[np.int64],
    keys: NDArray[np.uint8],
    missing: NDArray[np.bool_],
    wanted: tuple[Sequence[str], str],
) -> list[WorkUnit]:
    units = []
    names, view = wanted
    for pattern in np.unique(missing[missing.any(axis=1)], axis=0):
        chosen = (missing == pattern).all(axis=1)
        outputs = tuple(name for name, is_missing in zip(names, pattern, strict=True) if is_missing)
        units.append(WorkUnit(number, unit_name(keys[chosen], view, outputs), rows[chosen], outputs))
    return units
