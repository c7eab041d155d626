"""What to type next: commands that finish or use a cache, composed of what the cache knows about itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from featcache.encoders.build import DTYPE_OPTIONS, outputs_option
from featcache.identity.outputs import abbreviate, natural_order
from featcache.identity.terms import CLEAN, MODALITIES
from featcache.store.selection import default_outputs

if TYPE_CHECKING:
    from featcache.upkeep.coverage import Division
    from featcache.upkeep.status import CacheStatus, DatasetStatus, ProducerStatus

__all__ = [
    "Origin",
    "Step",
    "extract_command",
    "finish_steps",
    "next_steps",
    "read_again_steps",
    "retry_steps",
]

_CONTENTS = {"text": "captions", "image": "pictures", "spectral": "spectra"}
_MAX_USES = 3
_FUSIONS = {
    ("image",): "image",
    ("text",): "text",
    ("spectral",): "spectral",
    ("image", "spectral"): "image-spectral",
    ("text", "spectral"): "text",
}
"""What `heads train` is told to see where there are not both captions and pictures, which it takes by itself."""


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


@dataclass(frozen=True)
class Origin:
    """How a data set was read.

    Attributes
    ----------
    name, data : str
        Its name in the cache, and what it was read from.
    seed : int or None
        Seed of the split, if it was made here.
    skips_orphans : bool
        Whether something that it names was left out.
    """

    name: str
    data: str
    seed: int | None
    skips_orphans: bool

    @classmethod
    def of(cls, dataset: DatasetStatus) -> Self:
        """Return that of a data set with a sample table."""
        return cls(dataset.name, dataset.origin, dataset.split_seed, bool(dataset.audit.orphans.n))


def extract_command(
    path: str,
    origin: Origin | None,
    producers: Sequence[ProducerStatus],
    *flags: str,
    views: Sequence[str] = (CLEAN,),
) -> tuple[str, ...]:
    """Compose the ``featcache extract`` that runs these producers, at most one a modality, and no others."""
    words = ["featcache", "extract", origin.data if origin else "DATA", "--cache", path]
    options: dict[str, str] = {"--name": origin.name} if origin else {}
    for modality in ("text", "image"):
        given = [option for producer in producers for option in producer.options]
        if producers and f"--{modality}-model" not in given:
            options[f"--{modality}-model"] = "none"
        for producer in producers:
            options |= producer.options if producer.modality == modality else {}
    for producer in producers:
        options |= producer.options if producer.modality == "spectral" else {}
    if tuple(views) not in ((CLEAN,), ()):
        options["--views"] = ",".join(views)
    if origin and origin.skips_orphans:
        options["--on-orphan"] = "skip"
    if origin and origin.seed:
        options["--seed"] = str(origin.seed)
    for option, value in options.items():
        # A value that begins with a dash would be read as an option.
        words += [f"{option}={value}"] if value.startswith("-") else [option, value] if value else [option]
    return (*words, *flags)


def next_steps(status: CacheStatus) -> tuple[Step, ...]:
    """Return what to do next, the most urgent first: finish, look at what failed, use."""
    lost = [step for name in status.unread for step in read_again_steps(status, name)]
    if not (status.datasets or lost):
        return (_begin(status),)
    steps = lost + [step for dataset in status.datasets for step in finish_steps(status, dataset)]
    if not (status.producers or status.nameless):
        steps += [
            Step(f"encode {dataset.name}", extract_command(status.path, Origin.of(dataset), ()))
            for dataset in status.datasets
        ]
    if status.n_failures:
        steps.append(Step("see what failed, and why", ("featcache", "failures", status.path)))
    if not (status.n_missing or lost or status.nameless):
        steps += _uses(status)
    return tuple(steps)


@dataclass(frozen=True)
class _Task:
    """What a producer is to do."""

    producer: ProducerStatus
    views: tuple[str, ...]
    n_missing: tuple[int, ...] = ()
    """Contents that are missing under each view that lacks some."""

    def __str__(self) -> str:
        each = f" in {len(self.n_missing)} views" if len(self.n_missing) > 1 else ""
        most = "up to " if len(set(self.n_missing)) > 1 else ""
        return f"{most}{max(self.n_missing):,} {_CONTENTS[self.producer.modality]}{each}"

    def goes_with(self, other: _Task) -> bool:
        """Whether one command can do both: the dtypes agree, and of pictures the views."""
        a, b = self.producer, other.producer
        dtypes = DTYPE_OPTIONS if "spectral" not in (a.modality, b.modality) else DTYPE_OPTIONS[1:]
        is_same_view = self.views == other.views or "text" in (a.modality, b.modality)
        options = all(a.options.get(name) == b.options.get(name) for name in dtypes)
        return a.modality != b.modality and options and is_same_view


def finish_steps(status: CacheStatus, dataset: DatasetStatus) -> Iterator[Step]:
    """Yield the parts of divisions that are missing, then the commands that do all by themselves."""
    by_name = {producer.fingerprint: producer for producer in status.producers}
    for division in dataset.divisions:
        if all(frozen.fingerprint in by_name for frozen in division.producers):
            why = f"the missing parts of {dataset.name} as a job array: --array={division.missing}"
            yield Step(why, _division_command(status.path, dataset, division, by_name))
    for group in _groups(_tasks(status, dataset)):
        what = " and ".join(map(str, group))
        how = ", without dividing it" if dataset.divisions else ""
        why = f"encode what {dataset.name} still lacks{how}: {what}"
        yield Step(why, _command(status.path, Origin.of(dataset), group))


def _tasks(status: CacheStatus, dataset: DatasetStatus) -> list[_Task]:
    """Return what producers lack: as it was asked for, so that the runs are cut alike, or only what is missing."""
    tasks = []
    for name in dict.fromkeys(producer for producer, _ in dataset.missing):
        producer = next(p for p in status.producers if p.fingerprint.startswith(name))
        lacks = [c for c in dataset.coverage if c.producer == name and c.is_wanted and c.n_missing]
        views, outputs = tuple(dict.fromkeys(c.view for c in lacks)), {c.output for c in lacks}
        n_missing = tuple(n for (other, _), n in dataset.missing.items() if other == name)
        asked = next((r for r in dataset.requests if r.fingerprint == producer.fingerprint), None)
        if asked and outputs <= set(asked.outputs) and set(views) <= set(asked.views):
            outputs, views = set(asked.outputs), asked.views
        tasks.append(_Task(_making(producer, outputs - {""}), views, n_missing))
    return tasks


def _making(producer: ProducerStatus, outputs: Iterable[str]) -> ProducerStatus:
    """Return a producer whose options name these outputs; as it is if there is none."""
    names = natural_order(outputs)
    if not names:
        return producer
    others = {name: value for name, value in producer.options.items() if not name.endswith("-outputs")}
    return replace(producer, options=others | outputs_option(producer.modality, names))


def read_again_steps(status: CacheStatus, name: str) -> Iterator[Step]:
    """Yield the commands that bring a data set back whose sample table is gone."""
    by_digest = {producer.fingerprint: producer for producer in status.producers}
    asked = [request for request in status.unread[name] if request.fingerprint in by_digest]
    tasks = [_Task(_making(by_digest[r.fingerprint], r.outputs), r.views) for r in asked]
    for group in _groups(tasks):
        origin = Origin(name, asked[0].origin, asked[0].seed, asked[0].skips_orphans)
        why = f"read {name} again: it has no sample table (to forget it, delete it in requests and failures/samples)"
        yield Step(why, _command(status.path, origin, group))


def _division_command(
    path: str, dataset: DatasetStatus, division: Division, by_name: Mapping[str, ProducerStatus]
) -> tuple[str, ...]:
    producers, views = [], {CLEAN: None}
    for frozen in division.producers:
        producers.append(_making(by_name[frozen.fingerprint], frozen.outputs))
        views = dict.fromkeys(frozen.views) if frozen.kind == "image" else views
    flags = ("--shard", f"auto/{division.count}", "--shard-rows", str(division.unit_rows))
    return extract_command(path, Origin.of(dataset), producers, *flags, views=tuple(views))


def _command(path: str, origin: Origin | None, group: Sequence[_Task], *flags: str) -> tuple[str, ...]:
    views = next((task.views for task in group if task.producer.modality != "text"), (CLEAN,))
    return extract_command(path, origin, [task.producer for task in group], *flags, views=views)


def _groups(tasks: Sequence[_Task]) -> list[list[_Task]]:
    """Put producers that agree into one command, at most one of each modality."""
    groups: list[list[_Task]] = []
    for task in sorted(tasks, key=lambda task: MODALITIES.index(task.producer.modality)):
        fitting = (group for group in groups if all(task.goes_with(other) for other in group))
        group = next(fitting, None)
        if group is None:
            groups.append([task])
        else:
            group.append(task)
    return groups


def retry_steps(status: CacheStatus, failed: Mapping[str, Sequence[str]]) -> tuple[Step, ...]:
    """Return the commands that try failures again.

    Parameters
    ----------
    status : CacheStatus
        What is in the cache, and what is missing.
    failed : mapping of data set to short fingerprints
        The producers that failed; none where pictures could not even be read.
    """
    by_name = {producer.fingerprint[:12]: producer for producer in status.producers}
    steps = [step for name in status.unread if name in failed for step in read_again_steps(status, name)]
    for dataset in status.datasets:
        if dataset.name not in failed:
            continue
        wanted = [c for c in dataset.coverage if c.is_wanted]
        of_pictures = [c for c in wanted if c.modality != "text"]
        names = dict.fromkeys(failed[dataset.name] or (c.producer for c in of_pictures or wanted))
        tasks = [_Task(by_name[name], by_name[name].views or (CLEAN,)) for name in names]
        for group in _groups(tasks):
            command = _command(status.path, Origin.of(dataset), group, "--retry-failed")
            steps.append(Step(f"try what failed of {dataset.name} again", command))
    return tuple(steps)


def _begin(status: CacheStatus) -> Step:
    group = next(iter(_groups([_Task(producer, (CLEAN,)) for producer in status.producers])), [])
    why = "read a data set: a table of pictures and captions, or a folder, for DATA"
    return Step(why, _command(status.path, None, group))


def _uses(status: CacheStatus) -> list[Step]:
    steps = []
    for dataset in status.datasets[:_MAX_USES]:
        words = [status.path]
        there = tuple(m for m in MODALITIES if any(c.modality == m and c.n_stored for c in dataset.coverage))
        if not there:
            continue
        if status.n_datasets > 1:
            words += ["--dataset", dataset.name]
        views = _picture_views(dataset)
        if views and CLEAN not in views:
            words += ["--view", views[0]]
        for modality in MODALITIES:
            stored = list(dict.fromkeys(c.producer for c in dataset.coverage if c.modality == modality and c.n_stored))
            if sum(p.modality == modality for p in status.producers) > 1 and stored:
                words += [f"--{modality}-encoder", stored[0]]
            outputs = {c.output for c in dataset.coverage if c.producer in stored[:1] and c.n_stored}
            if outputs and default_outputs(outputs, modality)[0] not in outputs:
                words += [f"--{modality}-outputs", abbreviate(natural_order(outputs)).replace(" ", "")]
        fusion = ("--fusion", _FUSIONS[there]) if there in _FUSIONS else ()
        if dataset.is_trainable:
            steps.append(Step("train a head", ("heads", "train", *words, *fusion)))
        else:
            out = str(Path(f"{dataset.name}.npz"))
            steps.append(Step("take the vectors out", ("featcache", "export", *words, "--out", out)))
    return steps


def _picture_views(dataset: DatasetStatus) -> list[str]:
    """Return the views of which everything has vectors that is made of pictures."""
    stored: dict[str, dict[str, None]] = {}
    for c in dataset.coverage:
        if c.modality != "text" and c.n_stored:
            stored.setdefault(c.modality, {})[c.view] = None
    first, *others = stored.values() or ({},)
    return [view for view in first if all(view in other for other in others)]
