"""``featcache extract``."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.commands.progress import ExtractDisplay
from featcache.commands.render import cache_folder, console, notes, print_json, safe
from featcache.project import load_project

if TYPE_CHECKING:
    from featcache.encoders.base import EncoderSpec
    from featcache.extract import ExtractResult
    from featcache.manifest import Manifest

__all__ = ["extract"]


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


class DtypeName(StrEnum):
    """Precision of the forward."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class StorageName(StrEnum):
    """Precision on disk."""

    auto = "auto"
    float16 = "float16"
    float32 = "float32"


class OnOrphan(StrEnum):
    """What to do about files that are named but not there."""

    error = "error"
    skip = "skip"


def extract(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Manifest (csv, tsv, jsonl, parquet, xlsx), folder, or hf:NAME; default: featcache.toml.",
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Cache folder; default: ./cache.")] = None,
    text_model: Annotated[str | None, typer.Option(help="Hub id[@revision], folder, or none.")] = None,
    image_model: Annotated[str | None, typer.Option(help="Hub id[@revision], folder, or none.")] = None,
    text_outputs: Annotated[str | None, typer.Option(help="cls, mean, pooler (comma-separated).")] = None,
    image_outputs: Annotated[str | None, typer.Option(help="pooled, cls (comma-separated).")] = None,
    text_template: Annotated[str | None, typer.Option(help="Text to encode, with {caption}.")] = None,
    device: Annotated[DeviceName, typer.Option(help="Where to compute.")] = DeviceName.auto,
    dtype: Annotated[DtypeName, typer.Option(help="Precision of the forward; auto: the cache's.")] = DtypeName.auto,
    storage_dtype: Annotated[
        StorageName, typer.Option(help="Precision on disk; auto: the cache's.")
    ] = StorageName.auto,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Contents a forward; default 256 on cuda, 64.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read and decode; default: cores.")] = None,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows a shard: what an interruption can lose.")] = 4096,
    on_orphan: Annotated[OnOrphan, typer.Option(help="Files named but not there.")] = OnOrphan.error,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try earlier failures again.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the data set in the cache.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split, where the data have none.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the encoders over what the cache lacks. Safe to interrupt; start it again to go on."""
    from featcache.encoders.loading import resolve_device
    from featcache.extract import ExtractOptions
    from featcache.extract import extract as library_extract
    from featcache.manifest import Manifest

    project = load_project()
    data = data or project.data
    if data is None:
        raise typer.BadParameter("DATA is missing, and there is no featcache.toml that names it", param_hint="DATA")
    models = _Models(
        text_model or project.text_model,
        image_model or project.image_model,
        text_outputs or project.text_outputs or "cls",
        image_outputs or project.image_outputs or "pooled",
        text_template or project.text_template or "{caption}",
    )
    computing = resolve_device(device.value)
    manifest = Manifest.from_source(data, on_orphan=on_orphan.value, name=name)
    target = _open_cache(cache_folder(cache), computing, dtype.value, storage_dtype.value)
    specs = models.specs(manifest, *_dtypes(target, dtype.value, storage_dtype.value))
    _check_name(target, manifest, name)
    settings: dict[str, Any] = {"workers": workers} if workers else {}
    options = ExtractOptions(
        device=device.value,
        batch_size=batch_size or (256 if computing == "cuda" else 64),
        unit_rows=shard_rows,
        retry_failed=retry_failed,
        seed=seed,
        **settings,
    )
    try:
        with _terminable(), ExtractDisplay(notes) as display:
            result = library_extract(manifest, target, specs, options=options, progress=display.update)
    except KeyboardInterrupt:
        notes.print("\ninterrupted; what was published stays. To go on:", soft_wrap=True)
        notes.print("  " + safe(shlex.join(["featcache", *sys.argv[1:]])), soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(_document(result))
    else:
        _render(result, target.path)
    if result.n_failed:
        raise typer.Exit(3)


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end the block as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Models:
    text: str | None
    image: str | None
    text_outputs: str
    image_outputs: str
    template: str

    def specs(self, manifest: Manifest, compute_dtype: str, storage_dtype: str) -> list[EncoderSpec]:
        """Build the encoders that this data set has a use for."""
        from featcache.encoders.text import TextSpec
        from featcache.encoders.vision import ImageSpec
        from featcache.errors import FeatcacheError
        from featcache.models import DEFAULT_IMAGE_MODEL, DEFAULT_TEXT_MODEL, resolve_model

        specs: list[EncoderSpec] = []
        dtypes = {"compute_dtype": compute_dtype, "storage_dtype": storage_dtype}
        has_text = any(s.caption for s in manifest.samples)
        has_image = any(s.image for s in manifest.samples)
        if self.text != "none" and (has_text or self.text):
            folder = resolve_model(self.text or DEFAULT_TEXT_MODEL)
            specs.append(TextSpec(folder, _names(self.text_outputs), self.template, **dtypes))
        if self.image != "none" and (has_image or self.image):
            folder = resolve_model(self.image or DEFAULT_IMAGE_MODEL)
            specs.append(ImageSpec(folder, _names(self.image_outputs), **dtypes))
        if not specs:
            raise FeatcacheError("nothing to do: no encoder is left for what this data set has")
        return specs


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _open_cache(path: Path, device: str, dtype: str, storage_dtype: str) -> Any:
    from featcache.cache import Cache, Defaults
    from featcache.encoders.loading import preferred_dtype

    compute = preferred_dtype(device) if dtype == "auto" else dtype
    return Cache.open_or_create(path, Defaults(compute, "float16" if storage_dtype == "auto" else storage_dtype))


def _dtypes(target: Any, dtype: str, storage_dtype: str) -> tuple[str, str]:
    defaults = target.defaults
    return (
        defaults.compute_dtype if dtype == "auto" else dtype,
        defaults.storage_dtype if storage_dtype == "auto" else storage_dtype,
    )


def _check_name(target: Any, manifest: Manifest, name: str | None) -> None:
    from featcache.errors import FeatcacheError
    from featcache.samples import read_samples

    if name is None and manifest.name in target.datasets:
        origin = read_samples(target.sample_path(manifest.name)).origin
        if origin != manifest.origin:
            raise FeatcacheError(
                f"cache {str(target.path)!r} has a data set {manifest.name!r} already, from {origin!r}; "
                f"--name {manifest.name} replaces its sample table, another --name adds to it"
            )


def _document(result: ExtractResult) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(result) | {"n_encoded": result.n_encoded, "n_failed": result.n_failed}


def _render(result: ExtractResult, path: Path) -> None:
    for side in result.sides:
        total = sum(side.seconds.values())
        line = f"[bold]{side.modality:5}[/] {safe(side.model)}: {side.n_contents:,} contents, "
        line += f"{side.n_cached:,} cached, {side.n_encoded:,} encoded, {side.n_failed:,} failed"
        console.print(line, soft_wrap=True)
        if side.n_encoded and total:
            shares = ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in side.seconds.items())
            console.print(f"      {side.n_encoded / total:.1f} rows/s ({shares})", soft_wrap=True)
        if side.n_failed_before:
            console.print(f"      {side.n_failed_before:,} failed in an earlier run: --retry-failed tries them again")
    notes_ = [f"{n:,} without {'caption' if m == 'text' else 'image'}" for m, n in result.n_missing.items() if n]
    notes_ += [f"{result.n_orphans:,} entries skipped: no such file"] if result.n_orphans else []
    console.print(f"{result.n_samples:,} samples" + "".join(f", {note}" for note in notes_), soft_wrap=True)
    failures = [*result.unreadable, *(f for side in result.sides for f in side.failures)]
    for failure in failures[:5]:
        console.print(f"[red]failed[/] {safe(failure.sample_id)}: {safe(failure.message)}", soft_wrap=True)
    if len(failures) > 5:
        console.print(f"… and {len(failures) - 5:,} more failures, in {safe(path / 'failures')}", soft_wrap=True)
    if not result.n_encoded and not result.n_failed:
        console.print("[green]complete[/]: nothing to encode")
    elif not result.n_failed:
        console.print("[green]complete[/]")
    console.print(f"Next: heads train {safe(shlex.quote(str(path)))} --loss multitask", soft_wrap=True)
