"""One extraction on several GPUs of one machine: a process a GPU, all at the same plan, sharing it out by claims."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from featcache.cache.folder import Cache
from featcache.cache.index import update_index
from featcache.cache.lease import shared_lease
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.errors import FeatcacheError
from featcache.extraction.board import Board, merge_results
from featcache.extraction.interruption import insistent
from featcache.extraction.options import ExtractOptions, available_cores, parse_gpus
from featcache.extraction.planning.checks import check_extraction
from featcache.extraction.results import Event, ExtractResult, Progress
from featcache.extraction.run import extract
from featcache.extraction.survey.survey import survey
from featcache.extraction.work import Extraction, Work
from featcache.identity.terms import CLEAN

__all__ = ["choose_gpus", "extract_on", "visible_gpus"]

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_TIDY_SECONDS = 20.0


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; starts no CUDA."""
    import torch

    n = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(_VARIABLE, "").split(",") if name.strip()]
    return tuple(named[:n]) if named else tuple(map(str, range(n)))


def choose_gpus(text: str, visible: Sequence[str]) -> tuple[str, ...]:
    """Read ``all`` or a number.

    Raises
    ------
    FeatcacheError
        If it is neither, or more than there are.
    """
    n = parse_gpus(text)
    if n is not None and n > len(visible):
        raise FeatcacheError(f"gpus is {n}, expected at most the {len(visible)} that torch can use here")
    return tuple(visible[:n])


def extract_on(
    gpus: Sequence[str],
    manifest: Manifest,
    cache: Cache,
    specs: Sequence[EncoderSpec],
    *,
    views: str | Sequence[str] = (CLEAN,),
    options: ExtractOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    events: Callable[[Event], None] | None = None,
) -> ExtractResult:
    """Do what `extract` does, in one process for each GPU.

    The data set is hashed here first. Whoever is free takes the next work unit, so that a slow GPU holds nobody up.
    Where one process cannot go on, all are stopped; what was published stays.

    Parameters
    ----------
    gpus : sequence of str
        One each, as ``CUDA_VISIBLE_DEVICES`` names them.
    manifest, cache, specs, views, options, progress, events
        As for `extract`; the encoders must be picklable. Workers and memory are shared out, the limit of failures is
        that of each process.

    Raises
    ------
    FeatcacheError
        If a process fails or dies; the message names it.
    """
    options = options or ExtractOptions()
    if options.retry_failed:
        raise FeatcacheError("failures are tried again on one GPU, expected --gpus 1 with --retry-failed")
    report = progress or (lambda _: None)
    extraction = Extraction(Work.of(specs, views), manifest, cache, options)
    check_extraction(extraction)
    cache.make()
    with shared_lease(cache.path):
        survey(extraction, report=report)
    share = max(1, (options.workers or available_cores()) // len(gpus))
    memory = max(1, options.picture_bytes // len(gpus))
    own = replace(options, rehash=False, workers=share, memory=memory)
    job = _Job(manifest, cache, tuple(specs), tuple([views] if isinstance(views, str) else views), own)
    board = Board(report, events or (lambda _: None))
    with _members(gpus, job) as members:
        results = _watch(members, board)
    update_index(cache)
    result = merge_results(results)
    board.tell(Event("end", {"n_encoded": result.n_encoded, "n_failed": result.n_failed}))
    return result


@dataclass(frozen=True)
class _Job:
    """What every process is given."""

    manifest: Manifest
    cache: Cache
    specs: tuple[EncoderSpec, ...]
    views: tuple[str, ...]
    options: ExtractOptions


@dataclass(frozen=True)
class _Member:
    """One process."""

    gpu: str
    process: SpawnProcess
    inbox: Connection

    def __str__(self) -> str:
        return f"the process of GPU {self.gpu} (pid {self.process.pid})"


@contextmanager
def _members(gpus: Sequence[str], job: _Job) -> Iterator[list[_Member]]:
    """Start the processes; none is left at the end."""
    members: list[_Member] = []
    try:
        for gpu in gpus:
            members.append(_start(gpu, job))  # noqa: PERF401 - those that run must be known if one does not start
        yield members
    finally:
        for member in members:
            if member.process.is_alive():
                member.process.terminate()
        deadline = time.monotonic() + _TIDY_SECONDS
        for member in members:
            member.process.join(max(0.0, deadline - time.monotonic()))
            member.process.kill()
            member.process.join()
            member.inbox.close()


def _start(gpu: str, job: _Job) -> _Member:
    # Spawned, not forked: CUDA and thread pools do not survive a fork.
    context = multiprocessing.get_context("spawn")
    inbox, outbox = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(job, outbox), name=f"gpu-{gpu}")
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = gpu
    try:
        process.start()
    finally:
        os.environ.pop(_VARIABLE)
        if before is not None:
            os.environ[_VARIABLE] = before
        outbox.close()
    return _Member(gpu, process, inbox)


def _serve(job: _Job, outbox: Connection) -> None:
    """Run in a process of its own: extract, and send what happens, at last the result or the error."""
    _interrupt_once()

    def send(*message: Any) -> None:
        # Without a parent nobody wants the result: its death ends this process at the next message.
        outbox.send(message)

    try:
        with insistent():
            result = extract(
                job.manifest, job.cache, job.specs, views=job.views, options=job.options,
                events=lambda event: send("event", event),
            )  # fmt: skip
            send("result", result)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (FeatcacheError, OSError) as error:
        with suppress(OSError):
            send("error", " ".join(str(error).split()))
        raise SystemExit(1) from None


def _interrupt_once() -> None:
    """Let the first signal interrupt, and the others wait until all is in order."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupt)


def _watch(members: Sequence[_Member], board: Board) -> list[ExtractResult]:
    """Read what the processes send until all have sent a result."""
    by_inbox = {member.inbox: member for member in members}
    results: list[ExtractResult] = []
    while by_inbox:
        for inbox in wait(list(by_inbox)):
            assert isinstance(inbox, Connection)
            member = by_inbox[inbox]
            try:
                kind, value = inbox.recv()
            except (EOFError, OSError):
                raise FeatcacheError(_obituary(member)) from None
            if kind == "event":
                board.note(value)
            elif kind == "error":
                raise FeatcacheError(f"{member} stopped, and the others with it: {value}")
            else:
                results.append(value)
                del by_inbox[inbox]
    return results


def _obituary(member: _Member) -> str:
    member.process.join(_TIDY_SECONDS)
    code = member.process.exitcode
    how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
    return f"{member} {how} and left no result; what was published stays: run the same command again"
