"""``featcache bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featcache.commands.extract import options as o
from featcache.commands.extract.models import Dtypes
from featcache.commands.extract.options import build_models
from featcache.console import console, notes, print_json, safe
from featcache.extraction.heap import keep_heap
from featcache.project import load_project

if TYPE_CHECKING:
    from featcache.extraction.bench import BenchResult

__all__ = ["bench"]


def bench(
    data: o.Data = None,
    text_model: o.TextModel = None,
    image_model: o.ImageModel = None,
    text_outputs: o.TextOutputs = None,
    image_outputs: o.ImageOutputs = None,
    views: o.Views = None,
    spectral: o.Spectral = None,
    spectral_outputs: o.SpectralOutputs = None,
    clip_text: o.ClipText = None,
    text_template: o.TextTemplate = None,
    dtype: o.Dtype = o.DtypeName.auto,
    storage_dtype: o.StorageDtype = o.StorageName.auto,
    resize: o.Resize = None,
    square_crop: o.SquareCrop = None,
    decode: o.Decode = None,
    device: o.Device = o.DeviceName.auto,
    batch_size: o.BatchSize = "auto",
    workers: o.Workers = "auto",
    memory: o.Memory = None,
    compile_: o.Compile = False,
    samples: Annotated[int, typer.Option(min=1, help="About how many samples to extract.")] = 480,
    seconds: Annotated[float, typer.Option(min=0.001, help="About how long each part is measured.")] = 5.0,
    as_json: o.AsJson = False,
) -> None:
    """Measure how fast an extraction can go here: each part alone, then all of it, on a sample of the data."""
    given = dict(locals())
    project = load_project()
    data = data or project.data
    if data is None:
        raise typer.BadParameter("DATA is missing, and there is no featcache.toml that names it", param_hint="DATA")
    keep_heap()
    from featcache.cache.folder import Cache, Defaults
    from featcache.dataset.manifest import Manifest
    from featcache.encoders.loading import preferred_dtype, resolve_device
    from featcache.extraction.bench import bench as library_bench
    from featcache.extraction.bench import thin
    from featcache.extraction.memory import parse_memory
    from featcache.extraction.options import ExtractOptions

    room = None if memory is None else parse_memory(memory)
    sample = thin(Manifest.from_source(data, on_orphan="skip"), samples)
    compute = preferred_dtype(resolve_device(device.value)) if dtype.value == "auto" else dtype.value
    defaults = Defaults(compute, "float16" if storage_dtype.value == "auto" else storage_dtype.value)
    # Encoders take what is not said from a cache; the one that is measured with is made later.
    imagined = Cache(Path("bench"), defaults)
    specs = build_models(project, given).specs(sample, imagined, Dtypes(compute, defaults.storage_dtype))
    options = ExtractOptions(
        device=device.value,
        batch_size=None if batch_size == "auto" else batch_size,
        workers=None if workers in ("auto", 0) else workers,
        processes=False if workers == 0 else None,
        memory=room,
        compile=compile_,
    )
    with notes.status("") as spinner:
        found = library_bench(
            sample,
            specs,
            defaults,
            views=views or project.views or "clean",
            options=options,
            seconds=seconds,
            progress=lambda part: spinner.update(f"measuring: {part}"),
        )
    if as_json:
        print_json(found.to_dict())
    else:
        _render(found)


def _render(found: BenchResult) -> None:
    console.print(
        f"[bold]{safe(found.dataset)}[/] {found.n_samples:,} samples, {found.n_captions:,} captions, "
        f"{found.n_pictures:,} pictures; {found.device}, {found.cores} cores"
    )
    if found.n_failed:
        console.print(f"{found.n_failed:,} could not be read or encoded, and are not counted", style="yellow")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("part")
    table.add_column("how", overflow="fold")
    for name in ("rate", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for f in found.forwards:
        times = f" × {f.n_views} views" if f.n_views > 1 else ""
        size = "up to " if f.modality == "text" else ""
        how = f"{safe(f.model)}, {f.compute_dtype}, {size}{f.n_rows} a batch{times}"
        table.add_row(f"{f.modality} forward", how, f"{f.rate:,.1f}/s", f"{f.seconds:.2f}")
    if found.n_pictures:
        spent = ", ".join(f"{name} {1e3 * part:.2f}" for name, part in found.reading.seconds.items() if part)
        rate = f"{found.reading.rate:,.1f}/s"
        table.add_row("reading, 1 core", f"ms: {spent}", rate, f"{found.n_pictures / found.reading.rate:.2f}")
        table.add_row(f"reading, {found.workers} workers", "", "", f"{found.reading_seconds:.2f}")
    n, what = (found.n_pictures, "pictures") if found.n_pictures else (found.n_captions, "captions")
    rate = f"{n / found.end_to_end:,.1f}/s"
    stages = ", ".join(f"{'hashing' if name == 'scan' else name} {spent:.2f}" for name, spent in found.stages.items())
    share = f"{n:,} {what}, {found.bound / found.end_to_end:.0%} of the bound; s: {stages}"
    table.add_row("[bold]end to end[/]", share, rate, f"{found.end_to_end:.2f}")
    console.print(table)
    shared = "forward and reading share the cores" if found.device == "cpu" else "the slower of forward and reading"
    console.print(f"bound {found.bound:.2f} s: {shared}; [bold]{found.binds}[/] binds", soft_wrap=True)
    if found.n_pictures:
        console.print(_workers(found))


def _workers(found: BenchResult) -> str:
    if found.device != "cpu":
        n = found.workers_needed
        return f"{n} worker{'s' * (n > 1)}, each with a core, would keep up with this device"
    from featcache.extraction.options import ExtractOptions

    n, default = found.workers, ExtractOptions().threads
    which = "the default" if n == default else f"default: {default}"
    more = f"up to {found.cores} could help" if n < found.cores else "more would not help"
    shared = f"the {found.cores} cores" if found.cores > 1 else "the core"
    return (
        f"{n} worker{'s' * (n > 1)} ({which}) and the forwards share {shared}: preparing is "
        f"{found.reading_share:.0%} of the work, {more}"
    )
