"""``featcache bench``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featcache.commands.extract import options as o
from featcache.commands.extract.models import Dtypes
from featcache.commands.extract.overview import print_left_out
from featcache.commands.extract.request import EncoderRequest, PaceRequest, ReadingRequest, choose_data, refuse_empty
from featcache.commands.takes import takes
from featcache.console import console, notes, print_json, safe
from featcache.extraction.heap import keep_heap
from featcache.project import load_project

if TYPE_CHECKING:
    from featcache.extraction.bench import BenchResult

__all__ = ["bench"]


@dataclass(frozen=True)
class BenchRequest:
    """Everything that ``featcache bench`` takes, in the order of its help."""

    data: o.Data = None
    reading: ReadingRequest = field(default_factory=ReadingRequest)
    encoders: EncoderRequest = field(default_factory=EncoderRequest)
    device: o.Device = o.DeviceName.auto
    pace: PaceRequest = field(default_factory=PaceRequest)
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="About how many samples to extract.")] = 480
    seconds: Annotated[float, typer.Option(min=0.001, metavar="S", help="About how long each part is measured.")] = 5.0
    as_json: o.AsJson = False


@takes(BenchRequest)
def bench(request: BenchRequest) -> None:
    """Measure how fast an extraction can go here: each part alone, then all of it, on a sample of the data."""
    project = load_project()
    data, encoders = choose_data(request.data, project), request.encoders
    keep_heap()
    from featcache.cache.folder import Cache, Defaults
    from featcache.encoders.loading import preferred_dtype, resolve_device
    from featcache.extraction.bench import bench as library_bench
    from featcache.extraction.bench import thin

    options, views = request.pace.options(request.device), encoders.chosen_views(project)
    refuse_empty(encoders.texts | request.reading.texts)
    # What is measured depends on no label.
    reading = replace(request.reading, labels=request.reading.labels or ["none"])
    manifest = reading.read(data, project, on_orphan="skip")
    print_left_out(manifest)
    sample = thin(manifest, request.samples)
    wanted = encoders.dtypes
    compute = preferred_dtype(resolve_device(options.device)) if wanted.compute == "auto" else wanted.compute
    defaults = Defaults(compute, "float16" if wanted.storage == "auto" else wanted.storage)
    # Encoders take what is not said from a cache; the one that is measured with is made later.
    imagined = Cache(Path("bench"), defaults)
    specs = encoders.models(project).specs(sample, imagined, Dtypes(compute, defaults.storage_dtype))
    with notes.status("") as spinner:
        found = library_bench(
            sample,
            specs,
            defaults,
            views=views,
            options=options,
            seconds=request.seconds,
            progress=lambda part: spinner.update(f"measuring: {part}"),
        )
    if request.as_json:
        print_json(found.to_dict())
    else:
        _render(found, options.decoder)


def _render(found: BenchResult, decoder: str) -> None:
    from featcache.pictures.decoders import FAST_ADVICE, find_decoder

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
        spent += f"; by {safe(', '.join(sorted({way.partition(':')[0] for way in found.reading.ways})))}"
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
        if set(found.reading.ways) == {"pillow"} and find_decoder("auto") is None:
            console.print(safe(FAST_ADVICE), soft_wrap=True)
        if decoder == "auto" and (advice := _card_advice(found)):
            console.print(advice, soft_wrap=True)


def _card_advice(found: BenchResult) -> str:
    """Return how to measure what a GPU is worth that prepares pictures, which it does not for as few as these."""
    from featcache.extraction.preparing.reader import LEAST_FOR_CARD

    n_inputs = sum(f.n_views for f in found.forwards if f.modality != "text")
    if found.device != "cuda" or not 0 < n_inputs * found.n_pictures < LEAST_FOR_CARD:
        return ""
    n = math.ceil(LEAST_FOR_CARD / n_inputs)
    return f"GPUs that can prepare pictures do so from {LEAST_FOR_CARD:,} inputs on: --samples {n} would measure it"


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
