"""``featcache extract``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featcache.commands.extract.forecast import render_forecast
from featcache.commands.extract.misses import print_misses
from featcache.commands.extract.models import check_name, find_device, open_target
from featcache.commands.extract.options import ExtractCommand
from featcache.commands.extract.overview import overview_document, print_overview
from featcache.commands.extract.progress import ExtractDisplay
from featcache.commands.extract.request import ExtractRequest, choose_data, refuse_empty
from featcache.commands.extract.result import render_result, result_document
from featcache.commands.interrupt import interruptible
from featcache.commands.takes import takes
from featcache.console import cache_folder, human_bytes, notes, print_json
from featcache.extraction.heap import keep_heap, trim_heap
from featcache.identity.outputs import tell_pairs
from featcache.project import load_project

if TYPE_CHECKING:
    from featcache.cache.folder import Cache
    from featcache.dataset.manifest import Manifest
    from featcache.encoders.base import EncoderSpec
    from featcache.extraction.planning.plan import Plan
    from featcache.extraction.run import ExtractOptions

__all__ = ["ExtractCommand", "extract"]

_SHOWN = 3


@takes(ExtractRequest)
def extract(request: ExtractRequest) -> None:
    """Run the encoders over what the cache lacks. Safe to interrupt; start it again to go on."""
    project = load_project()
    data, encoders = choose_data(request.data, project), request.encoders
    refuse_empty(encoders.texts | request.reading.texts | {"--name": request.name})
    models = encoders.models(project)
    keep_heap()
    with interruptible():
        options, views = request.options(), encoders.chosen_views(project)
        folder = cache_folder(request.cache)
        # Data need no device to be read: what is wrong with them is told before torch is loaded.
        known = open_target(folder, "cpu", encoders.dtypes)
        _check_log(request.json_log, known)
        manifest = request.reading.read(
            data, project, on_orphan=request.on_orphan.value, name=request.name, cache=known
        )
        check_name(known, manifest, request.name)
        manifest = _with_gone(manifest, known)
        computing = find_device(request.device.value)
        target = open_target(folder, computing, encoders.dtypes)
        specs = models.specs(manifest, target, encoders.dtypes)
        options = _rejoin(options, request.shard, target, manifest, specs)
        chosen = _gpus(request.gpus, computing, options)
        if not request.as_json:
            print_overview(manifest)
            _tell_seed(request.seed, known, manifest)
            for pair in tell_pairs(f"{models.text_outputs or ''},{models.image_outputs or ''}"):
                notes.print(f"[yellow]note[/] {pair}")
        errand = _Errand(manifest, target, specs, views, options)
        if request.dry_run or request.timed:
            errand.forecast(timed=request.timed, as_json=request.as_json)
        else:
            errand.extract(chosen, as_json=request.as_json, json_log=request.json_log)


def _with_gone(manifest: Manifest, cache: Cache) -> Manifest:
    """Add a note on samples that the data have no more: their rows go, and nothing else would say so."""
    from featcache.extraction.survey.reading import samples_gone

    gone = samples_gone(manifest, cache)
    if not gone:
        return manifest
    shown = ", ".join(gone[:_SHOWN]) + (" …" if len(gone) > _SHOWN else "")
    samples = f"{len(gone):,} sample{'' if len(gone) == 1 else 's'}"
    note = (
        f"{samples} that {manifest.name!r} had before {'is' if len(gone) == 1 else 'are'} not in the data any more: "
        f"{shown}; heads will not see them, vectors stay until `featcache gc --delete`"
    )
    return replace(manifest, notes=(*manifest.notes, note))


def _tell_seed(given: int | None, cache: Cache, manifest: Manifest) -> None:
    """Say that a split stays as it was drawn, where that is not what a new data set would get."""
    from featcache.extraction.survey.reading import seed_before

    if given is None and (seed := seed_before(cache, manifest.name)):
        notes.print(f"[yellow]note[/] split as drawn before: --seed {seed}")


def _rejoin(
    options: ExtractOptions, shard: str | None, cache: Cache, manifest: Manifest, specs: list[EncoderSpec]
) -> ExtractOptions:
    """Make ``--shard auto`` a part of the frozen division, if there is one, and say so; --refreeze makes another."""
    from featcache.extraction.planning.freeze import rejoin

    part = options.partition
    if part is None or shard is None or shard.strip() != "auto" or (options.refreeze and part.count > 1):
        return options
    joined = rejoin(cache, manifest.name, specs, part)
    if joined != part:
        notes.print(f"--shard auto: {joined} of the frozen plan (the job array by itself: {part})", soft_wrap=True)
    return replace(options, partition=joined)


def _gpus(asked: str | None, computing: str, options: ExtractOptions) -> tuple[str, ...]:
    """Return the GPUs to start a process on each; fewer than two: this process does it alone."""
    if computing == "cpu" and asked is not None:
        raise typer.BadParameter("there is none on --device cpu", param_hint="--gpus")
    if computing == "cpu" or (asked is None and options.retry_failed):
        return ()
    from featcache.extraction.fleet import choose_gpus, visible_gpus

    return choose_gpus(asked or "all", visible_gpus())


def _check_log(path: Path | None, cache: Cache) -> None:
    from featcache.extraction.event_log import check_log

    if path is not None:
        check_log(path, awaited=cache.path)


@dataclass(frozen=True)
class _Errand:
    """What is to be done: encoders, the data that they encode, and the cache for what they make."""

    manifest: Manifest
    cache: Cache
    specs: list[EncoderSpec]
    views: str
    options: ExtractOptions

    def forecast(self, *, timed: bool, as_json: bool) -> None:
        """Say what would be done."""
        from featcache.extraction.forecast import forecast_extraction

        with ExtractDisplay(notes) as display:
            found = forecast_extraction(
                self.manifest, self.cache, self.specs,
                views=self.views, options=self.options, timed=timed, progress=display.update,
            )  # fmt: skip
        if as_json:
            print_json(found.to_dict() | overview_document(self.manifest))
        else:
            render_forecast(found, self.cache.path, timed=timed)

    def extract(self, gpus: tuple[str, ...], *, as_json: bool, json_log: Path | None) -> None:
        """Do it."""
        from featcache.extraction.event_log import EventLog
        from featcache.extraction.fleet import extract_on
        from featcache.extraction.run import extract as library_extract

        with ExitStack() as stack:
            log = stack.enter_context(EventLog(json_log, awaited=self.cache.path)) if json_log else None
            display = stack.enter_context(ExtractDisplay(notes, log))
            events = log.write if log else None
            if len(gpus) > 1:
                result = extract_on(
                    gpus, self.manifest, self.cache, self.specs,
                    views=self.views, options=self.options, progress=display.update, events=events,
                )  # fmt: skip
            else:
                result = library_extract(
                    self.manifest, self.cache, self.specs, announce=self._announcer(),
                    views=self.views, options=self.options, progress=display.update, events=events,
                )  # fmt: skip
        if as_json:
            print_json(result_document(result) | overview_document(self.manifest))
        else:
            render_result(result, self.cache.path)
        if result.n_failed or result.broken:
            raise typer.Exit(3)

    def _announcer(self) -> Callable[[Plan], None]:
        """Return what tells if the disk is too small, and, once an encoder, why it finds nothing in the cache."""
        from featcache.extraction.forecast import disk_bytes, free_bytes

        told: set[str] = set()
        free, needed = free_bytes(self.cache.path), 0

        def announce(plan: Plan) -> None:
            nonlocal needed
            trim_heap()
            was_enough, needed = needed <= free, needed + (disk_bytes(plan, plan.spec.widths) or 0)
            if was_enough and needed > free:
                notes.print(
                    f"[yellow]note[/] the disk is too small: {human_bytes(free)} are free, --dry-run says how much is "
                    "needed; what fits is stored, and the same command goes on from there",
                    soft_wrap=True,
                )
            producer = plan.spec.fingerprint
            if plan.misses and producer.digest not in told:
                told.add(producer.digest)
                what = f"will encode {plan.n_todo:,} {'captions' if plan.spec.modality == 'text' else 'pictures'}"
                names = (producer.model_name, producer.digest)
                print_misses(notes, plan.misses, what=what, producer=names, cache=self.cache.path)

        return announce
