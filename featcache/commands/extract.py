"""``featcache extract``."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from featcache.commands.encoders import Dtypes, Models, check_name, open_target
from featcache.commands.forecast import render_forecast
from featcache.commands.interrupt import interruptible
from featcache.commands.misses import print_misses
from featcache.commands.progress import ExtractDisplay
from featcache.commands.render import cache_folder, console, notes, print_json, safe
from featcache.project import load_project

if TYPE_CHECKING:
    from featcache.cache import Cache
    from featcache.encoders.base import EncoderSpec
    from featcache.extract import ExtractOptions, ExtractResult
    from featcache.manifest import Manifest
    from featcache.plan import Plan
    from featcache.results import SideResult

__all__ = ["ExtractCommand", "extract"]


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


class ExtractCommand(TyperCommand):
    """Reads ``--dry-run=timed``: typer has no options whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Turn the option with a value into two without."""
        at = args.index("--") if "--" in args else len(args)
        before = [word for arg in args[:at] for word in (("--dry-run", "--timed") if arg == _TIMED else (arg,))]
        return super().parse_args(ctx, [*before, *args[at:]])


_TIMED = "--dry-run=timed"


def extract(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Manifest (csv, tsv, jsonl, parquet, xlsx), folder, tars, or hf:NAME; default: featcache.toml.",
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
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try only what failed earlier.")] = False,
    max_failures: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Give up when more contents fail; P% from 50 tried on.")
    ] = None,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read pictures again that look unchanged.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; =timed: encode one batch, estimate the time.")
    ] = False,
    timed: Annotated[bool, typer.Option("--timed", hidden=True)] = False,
    name: Annotated[str | None, typer.Option(help="Name of the data set in the cache.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split, where the data have none.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the encoders over what the cache lacks. Safe to interrupt; start it again to go on."""
    project = load_project()
    data = data or project.data
    if data is None:
        raise typer.BadParameter("DATA is missing, and there is no featcache.toml that names it", param_hint="DATA")
    models = Models(
        text_model or project.text_model,
        image_model or project.image_model,
        text_outputs or project.text_outputs,
        image_outputs or project.image_outputs,
        text_template or project.text_template,
    )
    dtypes = Dtypes(dtype.value, storage_dtype.value)
    with interruptible():
        from featcache.encoders.loading import resolve_device
        from featcache.extract import ExtractOptions, FailureLimit
        from featcache.manifest import Manifest

        computing = resolve_device(device.value)
        settings: dict[str, Any] = {"workers": workers} if workers else {}
        options = ExtractOptions(
            device=device.value,
            batch_size=batch_size or (256 if computing == "cuda" else 64),
            unit_rows=shard_rows,
            retry_failed=retry_failed,
            max_failures=None if max_failures is None else FailureLimit.parse(max_failures),
            rehash=rehash,
            seed=seed,
            **settings,
        )
        manifest = Manifest.from_source(data, on_orphan=on_orphan.value, name=name)
        target = open_target(cache_folder(cache), computing, dtypes, dry_run=dry_run or timed)
        specs = models.specs(manifest, target, dtypes)
        check_name(target, manifest, name)
        if dry_run or timed:
            _forecast(manifest, target, specs, options, timed=timed, as_json=as_json)
        else:
            _extract(manifest, target, specs, options, as_json=as_json)


def _forecast(
    manifest: Manifest,
    target: Cache,
    specs: list[EncoderSpec],
    options: ExtractOptions,
    *,
    timed: bool,
    as_json: bool,
) -> None:
    from featcache.forecast import forecast_extraction

    with ExtractDisplay(notes) as display:
        found = forecast_extraction(manifest, target, specs, options=options, timed=timed, progress=display.update)
    if as_json:
        print_json(found.to_dict())
    else:
        render_forecast(found, target.path, timed=timed)


def _extract(
    manifest: Manifest, target: Cache, specs: list[EncoderSpec], options: ExtractOptions, *, as_json: bool
) -> None:
    from featcache.extract import extract as library_extract

    def announce(plan: Plan) -> None:
        what = f"will encode {plan.n_todo:,} {'captions' if plan.spec.modality == 'text' else 'pictures'}"
        producer = plan.spec.fingerprint
        names = (producer.model_name, producer.digest)
        print_misses(notes, plan.misses, what=what, producer=names, cache=target.path)

    with ExtractDisplay(notes) as display:
        result = library_extract(manifest, target, specs, options=options, progress=display.update, announce=announce)
    if as_json:
        print_json(_document(result))
    else:
        _render(result, target.path)
    if result.n_failed or result.broken:
        raise typer.Exit(3)


def _document(result: ExtractResult) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(result) | {"n_encoded": result.n_encoded, "n_failed": result.n_failed}


def _render(result: ExtractResult, path: Path) -> None:
    for side in result.sides:
        _render_side(side)
    notes_ = [f"{n:,} without {'caption' if m == 'text' else 'image'}" for m, n in result.n_missing.items() if n]
    notes_ += [f"{result.n_orphans:,} entries skipped: no such file"] if result.n_orphans else []
    console.print(f"{result.n_samples:,} samples" + "".join(f", {note}" for note in notes_), soft_wrap=True)
    failures = [*result.unreadable, *(f for side in result.sides for f in side.failures)]
    for failure in failures[:5]:
        console.print(f"[red]failed[/] {safe(failure.sample_id)}: {safe(failure.message)}", soft_wrap=True)
    if len(failures) > 5:
        console.print(f"… and {len(failures) - 5:,} more failures, in {safe(path / 'failures')}", soft_wrap=True)
    for line in result.broken[:5]:
        console.print(f"[red]broken[/] {safe(line)}", soft_wrap=True)
    if len(result.broken) > 5:
        console.print(f"… and {len(result.broken) - 5:,} more broken parts, all in --json", soft_wrap=True)
    n_new = sum(side.n_new for side in result.sides)
    if n_new:
        console.print(
            f"incomplete: {n_new:,} new contents were left alone, the same without --retry-failed encodes them"
        )
    elif not (result.n_encoded or result.n_failed or result.broken):
        console.print("[green]complete[/]: nothing to encode")
    elif not (result.n_failed or result.broken):
        console.print("[green]complete[/]")
    console.print(f"Next: heads train {safe(shlex.quote(str(path)))} --loss multitask", soft_wrap=True)


def _render_side(side: SideResult) -> None:
    total = sum(side.seconds.values())
    line = f"[bold]{side.modality:5}[/] {safe(side.model)}: {side.n_contents:,} contents, "
    line += f"{side.n_cached:,} cached, {side.n_encoded:,} encoded, {side.n_failed:,} failed"
    line += f", {side.n_elsewhere:,} encoded by another writer" if side.n_elsewhere else ""
    console.print(line, soft_wrap=True)
    if side.n_encoded and total:
        shares = ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in side.seconds.items())
        console.print(f"      {side.n_encoded / total:.1f} rows/s ({shares})", soft_wrap=True)
    if side.n_failed_before:
        console.print(f"      {side.n_failed_before:,} failed in an earlier run: --retry-failed tries them again")
