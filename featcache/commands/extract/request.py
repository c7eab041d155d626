"""What ``featcache extract`` is asked for on the command line, and beside it in ``featcache.toml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import typer

from featcache.commands.extract import options as o
from featcache.commands.extract.models import Dtypes, Models, Pictures
from featcache.commands.usage import usage_of

if TYPE_CHECKING:
    from featcache.cache.folder import Cache
    from featcache.dataset.manifest import Manifest
    from featcache.extraction.options import ExtractOptions
    from featcache.project import Project

__all__ = ["EncoderRequest", "ExtractRequest", "PaceRequest", "ReadingRequest", "choose_data", "refuse_empty"]

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class ReadingRequest:
    """What is said of the data: what their labels and columns mean, and where their pictures are."""

    labels: o.Labels = None
    column: o.Column = None
    splits: o.Splits = None
    root: o.Root = None

    @property
    def texts(self) -> dict[str, str | None]:
        """What is said in words, by option."""
        return {"--labels": _join(self.labels), "--column": _join(self.column), "--splits": _join(self.splits)}

    def read(
        self,
        data: str,
        project: Project,
        *,
        on_orphan: Literal["error", "skip"],
        name: str | None = None,
        cache: Cache | None = None,
    ) -> Manifest:
        """Read the data: as the command line says, or ``featcache.toml`` of those that it names, or as a cache did."""
        from featcache.dataset.loose import read_pictures
        from featcache.dataset.manifest import Manifest
        from featcache.extraction.survey.reading import read_before, read_loosely

        contents = None if cache is None or name is None else read_loosely(cache, name)
        if contents and not (self.labels or self.column or self.splits or self.root):
            loose = read_pictures(data, contents=contents)
            if loose.name == name:
                return loose
        is_there = data == project.data
        labels = _first(_join(self.labels), project.labels if is_there else None)
        return Manifest.from_source(
            data,
            on_orphan=on_orphan,
            name=name,
            labels=labels,
            columns=_first(_join(self.column), project.column if is_there else None),
            splits=_first(_join(self.splits), project.splits if is_there else None),
            root=_first(self.root, project.root if is_there else None),
            earlier=None if cache is None else partial(read_before, cache, is_stated=labels is not None),
        )


@dataclass(frozen=True)
class EncoderRequest:
    """Which encoders are wanted, of what, and how they are to encode."""

    text_model: o.TextModel = None
    image_model: o.ImageModel = None
    text_outputs: o.TextOutputs = None
    image_outputs: o.ImageOutputs = None
    text_template: o.TextTemplate = None
    dtype: o.Dtype = o.DtypeName.auto
    storage_dtype: o.StorageDtype = o.StorageName.auto
    spectral: o.Spectral = None
    spectral_outputs: o.SpectralOutputs = None
    clip_text: o.ClipText = None
    views: o.Views = None
    resize: o.Resize = None
    square_crop: o.SquareCrop = None
    decode: o.Decode = None
    image_size: o.ImageSize = None
    fit: o.Fit = None
    variant: o.Variant = None

    @property
    def texts(self) -> dict[str, str | None]:
        """What is said in words, by option."""
        return {
            "--text-model": self.text_model,
            "--image-model": self.image_model,
            "--text-outputs": self.text_outputs,
            "--image-outputs": self.image_outputs,
            "--spectral-outputs": self.spectral_outputs,
            "--views": self.views,
            "--text-template": self.text_template,
            "--variant": self.variant,
        }

    @property
    def dtypes(self) -> Dtypes:
        """The precision that is wanted."""
        return Dtypes(self.dtype.value, self.storage_dtype.value)

    def chosen_views(self, project: Project) -> str:
        """Return the views, as `expand_views` takes them.

        Raises
        ------
        BadParameter
            If one of them is none.
        FeatcacheError
            The same, if ``featcache.toml`` names them.
        """
        from featcache.errors import FeatcacheError
        from featcache.pictures.views import expand_views

        views = self.views or project.views or "clean"
        try:
            with usage_of("--views", self.views):
                expand_views(views)
        except FeatcacheError as error:
            raise FeatcacheError(f"featcache.toml: {error}") from None
        return views

    def models(self, project: Project) -> Models:
        """Return the encoders that were asked for, on the command line or else in ``featcache.toml``.

        Raises
        ------
        BadParameter
            If spectral outputs are named beside ``--no-spectral``.
        """
        if self.spectral is False and self.spectral_outputs is not None:
            why = "there are none with --no-spectral: leave one of the two out"
            raise typer.BadParameter(why, param_hint="--spectral-outputs")
        spectral = _first(self.spectral, project.spectral)
        spectral_outputs = _first(self.spectral_outputs, project.spectral_outputs)
        if self.spectral_outputs is not None or spectral is None:
            spectral = spectral_outputs is not None
        pictures = Pictures(
            resize=str(_first(self.resize, project.resize) or "pillow"),
            square_crop=bool(_first(self.square_crop, project.square_crop)),
            decode=str(_first(self.decode, project.decode) or "exact"),
            image_size=_first(self.image_size, project.image_size),
            fit=_first(None if self.fit is None else self.fit.value, project.fit),
        )
        return Models(
            _first(self.text_model, project.text_model),
            _first(self.image_model, project.image_model),
            _first(self.text_outputs, project.text_outputs),
            _first(self.image_outputs, project.image_outputs),
            _first(self.text_template, project.text_template),
            spectral_outputs=spectral_outputs,
            spectral=spectral,
            clip_text=bool(_first(self.clip_text, project.clip_text)),
            pictures=pictures,
            variant=_first(self.variant, project.variant),
        )


@dataclass(frozen=True)
class PaceRequest:
    """How much is done at once."""

    batch_size: o.BatchSize = "auto"
    workers: o.Workers = "auto"
    memory: o.Memory = None
    decoder: o.Decoder = o.DecoderName.auto
    compile_: o.Compile = False

    def options(self, device: o.DeviceName) -> ExtractOptions:
        """Return how to run on a device.

        Raises
        ------
        BadParameter
            If the memory is no size.
        """
        from featcache.extraction.memory import parse_memory
        from featcache.extraction.options import ExtractOptions

        with usage_of("--memory", self.memory):
            memory = None if self.memory is None else parse_memory(self.memory)
        return ExtractOptions(
            device=device.value,
            batch_size=None if self.batch_size == "auto" else int(self.batch_size),
            workers=None if self.workers == "auto" else int(self.workers) or None,
            processes=False if self.workers != "auto" and not int(self.workers) else None,
            memory=memory,
            decoder=self.decoder.value,
            compile=self.compile_,
        )


@dataclass(frozen=True)
class ExtractRequest:
    """Everything that ``featcache extract`` takes, in the order of its help."""

    data: o.Data = None
    cache: o.CacheFolder = None
    reading: ReadingRequest = field(default_factory=ReadingRequest)
    name: o.Name = None
    seed: o.Seed = None
    rehash: o.Rehash = False
    encoders: EncoderRequest = field(default_factory=EncoderRequest)
    device: o.Device = o.DeviceName.auto
    gpus: o.Gpus = None
    pace: PaceRequest = field(default_factory=PaceRequest)
    shard_rows: o.ShardRows = None
    shard: o.Shard = None
    refreeze: o.Refreeze = False
    on_orphan: o.OnOrphans = o.OnOrphan.error
    retry_failed: o.RetryFailed = False
    max_failures: o.MaxFailures = None
    dry_run: o.DryRun = False
    timed: o.Timed = False
    as_json: o.AsJson = False
    json_log: o.JsonLog = None

    def options(self) -> ExtractOptions:
        """Return how to run.

        Raises
        ------
        BadParameter
            If a size, a limit, a number of GPUs or a part of a division is none.
        """
        from featcache.extraction.options import FailureLimit, parse_gpus
        from featcache.extraction.partition import Partition

        if self.refreeze and self.shard is None:
            raise typer.BadParameter("nothing is divided without --shard", param_hint="--refreeze")
        if self.gpus is not None:
            with usage_of("--gpus", self.gpus):
                parse_gpus(self.gpus)
        with usage_of("--max-failures", self.max_failures):
            max_failures = None if self.max_failures is None else FailureLimit.parse(self.max_failures)
        with usage_of("--shard", self.shard):
            partition = None if self.shard is None else Partition.parse(self.shard, os.environ)
        return replace(
            self.pace.options(self.device),
            unit_rows=self.shard_rows,
            retry_failed=self.retry_failed,
            max_failures=max_failures,
            rehash=self.rehash,
            seed=self.seed,
            partition=partition,
            refreeze=self.refreeze,
        )


def choose_data(data: str | None, project: Project) -> str:
    """Return what to read: named on the command line, or else in ``featcache.toml``; BadParameter if nowhere."""
    found = data or project.data
    if found is None:
        raise typer.BadParameter("DATA is missing, and there is no featcache.toml that names it", param_hint="DATA")
    return found


def refuse_empty(texts: Mapping[str, str | None]) -> None:
    """Raise BadParameter if an option is given an empty text."""
    for option, value in texts.items():
        if value is not None and not value.strip():
            raise typer.BadParameter("it is empty: say something, or leave the option out", param_hint=option)


def _join(said: list[str] | None) -> str | None:
    """Write in one text what an option says that may be given several times."""
    return None if said is None else ",".join(said)


def _first(said: _Value | None, otherwise: _Value | None) -> _Value | None:
    return otherwise if said is None else said
