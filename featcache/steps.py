"""What to type next: commands that finish or use a cache, composed of what the cache knows about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.cache import CLEAN
from featcache.fingerprint import Fingerprint

if TYPE_CHECKING:
    from featcache.status import CacheStatus, DatasetStatus, ProducerStatus

__all__ = ["Step", "encoder_options", "extract_command", "next_steps", "retry_steps"]

_DEFAULT_OUTPUTS = {"text": "cls", "image": "pooled"}
_CONTENTS = {"text": "captions", "image": "pictures"}
_DTYPES = ("--dtype", "--storage-dtype")
_MAX_USES = 3


@dataclass(frozen=True)
class Step:
    """Something to do next.

    Attributes
    ----------
    why : str
        What it does, in a few words.
    command : tuple of str
        The words of the command, not yet quoted for a shell.
    """

    why: str
    command: tuple[str, ...]


def encoder_options(fingerprint: Fingerprint, outputs: Sequence[str], defaults: tuple[str, str]) -> dict[str, str]:
    """Return the options of ``featcache extract`` that make a producer again.

    Parameters
    ----------
    fingerprint : Fingerprint
        The producer.
    outputs : sequence of str
        What it has stored.
    defaults : (str, str)
        The cache's compute dtype and storage dtype, which need not be said.
    """
    source, identity, side = fingerprint.source, fingerprint.identity, fingerprint.modality
    model = str(source["path"]) if source.get("path") else fingerprint.model_name
    if source.get("revision") and not source.get("path"):
        model += f"@{source['revision']}"
    options: dict[str, str] = {f"--{side}-model": model}
    if outputs and tuple(outputs) != (_DEFAULT_OUTPUTS[side],):
        options[f"--{side}-outputs"] = ",".join(outputs)
    if str(identity.get("template", "{caption}")) != "{caption}":
        options["--text-template"] = str(identity["template"])
    for option, field, default in zip(_DTYPES, ("compute_dtype", "storage_dtype"), defaults, strict=True):
        if str(identity[field]) != default:
            options[option] = str(identity[field])
    return options


def extract_command(
    path: str, dataset: DatasetStatus | None, producers: Sequence[ProducerStatus], *flags: str
) -> tuple[str, ...]:
    """Compose the ``featcache extract`` that runs these producers, at most one a side, and no others."""
    words = ["featcache", "extract", dataset.origin if dataset else "DATA", "--cache", path]
    options: dict[str, str] = {"--name": dataset.name} if dataset else {}
    sides = {producer.modality for producer in producers}
    for side in ("text", "image"):
        for producer in producers:
            options |= producer.options if producer.modality == side else {}
        if sides and side not in sides:
            options[f"--{side}-model"] = "none"
    if dataset and dataset.audit.orphans.n:
        options["--on-orphan"] = "skip"
    for option, value in options.items():
        # A value that begins with a dash would be read as an option.
        words += [f"{option}={value}"] if value.startswith("-") else [option, value]
    return (*words, *flags)


def next_steps(status: CacheStatus) -> tuple[Step, ...]:
    """Return what to do next, the most urgent first: finish, look at what failed, use."""
    if not status.datasets:
        return (_begin(status),)
    steps: list[Step] = []
    by_name = {producer.fingerprint[:12]: producer for producer in status.producers}
    for dataset in status.datasets:
        missing = {producer: n for (producer, view), n in dataset.missing.items() if view == CLEAN}
        for pair in _pairs([by_name[name] for name in missing]):
            what = " and ".join(f"{missing[p.fingerprint[:12]]:,} {_CONTENTS[p.modality]}" for p in pair)
            why = f"encode what {dataset.name} still lacks: {what}"
            steps.append(Step(why, extract_command(status.path, dataset, pair)))
    if status.n_failures:
        steps.append(Step("see what failed, and why", ("featcache", "failures", status.path)))
    if not status.n_missing:
        steps += _uses(status)
    return tuple(steps)


def retry_steps(status: CacheStatus, failed: Mapping[str, Sequence[str]]) -> tuple[Step, ...]:
    """Return the commands that try failures again.

    Parameters
    ----------
    status : CacheStatus
        The cache.
    failed : mapping of data set to short fingerprints
        The producers that failed; none where pictures could not even be read.
    """
    by_name = {producer.fingerprint[:12]: producer for producer in status.producers}
    steps = []
    for dataset in status.datasets:
        if dataset.name not in failed:
            continue
        wanted = [c.producer for c in dataset.coverage if c.is_wanted and c.modality == "image"]
        names = failed[dataset.name] or wanted
        for pair in _pairs([by_name[name] for name in dict.fromkeys(names)]):
            command = extract_command(status.path, dataset, pair, "--retry-failed")
            steps.append(Step(f"try what failed of {dataset.name} again", command))
    return tuple(steps)


def _pairs(producers: Sequence[ProducerStatus]) -> list[tuple[ProducerStatus, ...]]:
    """Put one producer of each side into each command, if both are of the same dtypes."""
    sides = [[p for p in producers if p.modality == side] for side in ("text", "image")]
    found: list[tuple[ProducerStatus, ...]] = []
    for pair in zip_longest(*sides):
        both = tuple(p for p in pair if p)
        agree = len({tuple(p.options.get(option) for option in _DTYPES) for p in both}) == 1
        found += [both] if agree else [(p,) for p in both]
    return found


def _begin(status: CacheStatus) -> Step:
    pair = _pairs(status.producers)[:1]
    why = "read a data set: a table of pictures and captions, or a folder, for DATA"
    return Step(why, extract_command(status.path, None, pair[0] if pair else ()))


def _uses(status: CacheStatus) -> list[Step]:
    steps = []
    for dataset in status.datasets[:_MAX_USES]:
        words = [status.path]
        if len(status.datasets) > 1:
            words += ["--dataset", dataset.name]
        for side in ("text", "image"):
            stored = list(dict.fromkeys(c.producer for c in dataset.coverage if c.modality == side and c.n_stored))
            if sum(p.modality == side for p in status.producers) > 1 and stored:
                words += [f"--{side}-encoder", stored[0]]
        if set(dataset.classes) - {"unknown"}:
            steps.append(Step("train a head", ("heads", "train", *words, "--loss", "multitask")))
        else:
            out = str(Path(f"{dataset.name}.npz"))
            steps.append(Step("take the vectors out", ("featcache", "export", *words, "--out", out)))
    return steps
