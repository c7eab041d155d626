"""What an extraction tells while it runs and when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featcache.cache.failures import Failure
from featcache.identity.terms import Modality
from featcache.store.near_misses import NearMiss

__all__ = ["Event", "ExtractResult", "PassResult", "Progress", "SideResult"]


@dataclass(frozen=True)
class Progress:
    """Where an extraction stands.

    Attributes
    ----------
    stage : {"scan", "text", "image"}
        Reading and hashing contents, or encoding what is made of captions or of pictures.
    done, total, failed : int
        Contents of this stage, each once for all encoders and views. One that some of these have encoded counts for
        that share.
    seconds : mapping
        Time of this stage by step, which add up to the time that has passed: ``read``, ``decode``, ``check``,
        ``views``, ``resize``, ``spectral`` (waiting for pictures, each wait divided as the work was that came of it),
        ``tokenise``, ``load`` (of weights), ``forward``, ``write``. None of them ever decreases.
    n_waiting : int
        Work units that another writer has in hand, when all others are done.
    """

    stage: str
    done: int
    total: int
    failed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    n_waiting: int = 0


@dataclass(frozen=True)
class Event:
    """Something that happened, for logs that machines read.

    Attributes
    ----------
    name : {"start", "plan", "unit", "failure", "doubt", "end"}
        What.
    fields : mapping
        Plain values that tell of it. A ``unit`` has ``n_rows``, how many of its rows are stored now, and ``n_failed``:
        what is encoded and finds no place, as others publish under the same names, is in neither.
    """

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class PassResult:
    """What going through the contents of one kind took, for all encoders and views together.

    Attributes
    ----------
    content : {"text", "image"}
        Of which kind.
    n_contents : int
        Contents that were read, each once.
    n_rows : int
        Contents that were encoded, once for each encoder and view.
    seconds : mapping
        Time by step, as in `Progress`; their sum is the time that passed.
    busy : mapping
        Seconds of work that went into the preparation, over all threads or processes.
    workers : str
        Who prepared: ``"4 threads"``, ``"16 processes"``.
    ways : mapping of str to int
        Pictures by who decoded them, ``simplejpeg``, ``nvjpeg`` or ``pillow``, and why if that is worth telling:
        ``pillow: PNG``, ``pillow: JPEG progressive 4:2:0``, ``pillow: refused``; ``pillow+triton`` where a GPU resized
        what Pillow decoded. Those that were decoded again count again.
    doubts : tuple of str
        One line for each time that a decoder was not trusted any more.
    hint : str
        Why the GPU does not prepare pictures, or not decode them, and what to do; empty if there is nothing to do.
    """

    content: str
    n_contents: int
    n_rows: int
    seconds: Mapping[str, float]
    busy: Mapping[str, float]
    workers: str
    ways: Mapping[str, int] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class SideResult:
    """What one encoder did under one view.

    Attributes
    ----------
    modality, view, fingerprint, model : str
        The producer, and the view.
    n_contents, n_cached, n_encoded : int
        Unique contents; those that were there already; those encoded now.
    n_elsewhere : int
        Contents that another writer encoded meanwhile.
    failures : tuple of Failure
        Contents that could not be encoded now.
    n_failed_before : int
        Contents that failed in an earlier extraction, or in one at the same time, and were not tried again.
    n_new : int
        Contents never tried, and not tried now because only failures were to be tried again.
    n_other_parts : int
        Contents that other parts of a division have to encode.
    seconds : mapping
        Time of this side alone: ``forward``, and ``write``, which goes on beside it.
    misses : tuple of NearMiss
        Other producers that hold contents which this one lacked.
    failed_before : tuple of str
        Content keys, 64 hex digits, of the ``n_failed_before``.
    """

    modality: Modality
    view: str
    fingerprint: str
    model: str
    n_contents: int
    n_cached: int
    n_encoded: int
    n_elsewhere: int
    failures: tuple[Failure, ...]
    n_failed_before: int
    n_new: int
    n_other_parts: int
    seconds: Mapping[str, float]
    misses: tuple[NearMiss, ...]
    failed_before: tuple[str, ...] = ()

    @property
    def n_failed(self) -> int:
        """Contents of this side that have no vectors because they failed."""
        return len(self.failures) + self.n_failed_before

    @property
    def failed_keys(self) -> frozenset[str]:
        """Content keys of these, 64 hex digits."""
        return frozenset({failure.key for failure in self.failures}.union(self.failed_before))


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction did.

    Attributes
    ----------
    dataset : str
        Name of the data set in the cache.
    n_samples, n_orphans : int
        Samples, and manifest entries skipped because no regular file was there.
    n_missing : mapping of modality to int
        Samples that have no content on that side.
    unreadable : tuple of Failure
        Pictures that exist but could not be read.
    sides : tuple of SideResult
        One per encoder and view.
    broken : tuple of str
        One line for each part of the source that is damaged or refused.
    passes : tuple of PassResult
        One for each kind of contents of which something was encoded.
    n_left_out : int
        What looks like a picture in the source and was not taken.
    """

    dataset: str
    n_samples: int
    n_orphans: int
    n_missing: Mapping[str, int]
    unreadable: tuple[Failure, ...]
    sides: tuple[SideResult, ...]
    broken: tuple[str, ...] = ()
    passes: tuple[PassResult, ...] = ()
    n_left_out: int = 0

    @property
    def n_failed(self) -> int:
        """Failures: a content counts once for each encoder and view that lacks it, an unreadable picture once."""
        return len(self.unreadable) + sum(side.n_failed for side in self.sides)

    @property
    def n_failed_contents(self) -> int:
        """Pictures and captions that failed, at whatever stage, each once for all encoders and views."""
        failed = {(side.modality == "text", key) for side in self.sides for key in side.failed_keys}
        return len(self.unreadable) + len(failed)

    @property
    def n_encoded(self) -> int:
        """Contents encoded now."""
        return sum(side.n_encoded for side in self.sides)
