"""``heads ablate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from heads.commands.ablate_result import print_ablation
from heads.commands.options import (
    CheckDigests,
    DeviceChoice,
    EncoderName,
    LossName,
    MemorySize,
    Outputs,
    Overwrite,
    ViewNames,
    build_choices,
    cache_folder,
    check_device,
    new_run_folder,
    parse_settings,
    view_names,
)
from heads.commands.render import notes, print_json, safe, show_checks, show_grid

__all__ = ["ablate"]

_DEFAULTS = {"head": ("mlp",), "fusion": ("concat", "image", "text"), "dim": (32, 64, 128, 256, 512), "seeds": 3}


def ablate(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache.")] = None,
    fusion: Annotated[str | None, typer.Option(metavar="F,…", help="Fusions; default: concat,image,text.")] = None,
    dim: Annotated[
        str | None, typer.Option(metavar="D,…", help="Hidden units of head mlp; default: 32,64,128,256,512.")
    ] = None,
    lr: Annotated[str | None, typer.Option(metavar="R,…", help="Learning rates of head mlp; default: its own.")] = None,
    weight_decay: Annotated[
        str | None, typer.Option(metavar="W,…", help="Weight decays of head mlp; default: its own.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="Seeds 0 to N - 1; default: 3.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=3, metavar="K", help="Score all of train and valid in K folds; default: score on valid."),
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="H,…", help="Kinds of head: mlp, linear, gbdt; default: mlp.")
    ] = None,
    views: ViewNames = None,
    controls: Annotated[
        bool | None, typer.Option("--controls/--no-controls", help="Fit on shuffled text and labels too; default: yes.")
    ] = None,
    screen: Annotated[
        bool | None, typer.Option("--screen/--no-screen", help="Fit in full only what a quick look finds promising.")
    ] = None,
    loss: Annotated[LossName | None, typer.Option(help="Of head mlp; default: multitask.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another setting, as for heads train."),
    ] = None,
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    text_outputs: Outputs = None,
    image_outputs: Outputs = None,
    spectral_outputs: Outputs = None,
    dataset: Annotated[str | None, typer.Option(help="Which data set of the cache, if it has several.")] = None,
    device: DeviceChoice = None,
    memory: MemorySize = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="F", help="TOML file with these options, for long ones.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="D", help="New folder; default: ./runs/<time>.")] = None,
    overwrite: Overwrite = False,
    check: CheckDigests = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit a grid of heads and compare their validation scores; test is never read.

    An ablation that was interrupted goes on when it is asked for again with the same --out.
    """
    given: dict[str, Any] = {
        "fusion": fusion,
        "dim": dim,
        "lr": lr,
        "weight_decay": weight_decay,
        "seeds": seeds,
        "folds": folds,
        "head": head,
        "views": views,
        "controls": controls,
        "screen": screen,
        "loss": loss and loss.value,
        "dataset": dataset,
        "device": device and device.value,
        "memory": memory,
    }
    chosen = build_choices(
        encoders={"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder},
        outputs={"text": text_outputs, "image": image_outputs, "spectral": spectral_outputs},
    )
    options = _merge(config, {name: value for name, value in given.items() if value is not None})
    options["choices"] = _merge_choices(options, settings or [], chosen)

    from featcache import open_store, parse_memory
    from heads.ablation.ablation import ablate as library_ablate
    from heads.ablation.files import ablation_document, prepare_ablation_out, write_ablation
    from heads.ablation.study_rows import StudyRows
    from heads.data.choices import choose_views

    grid = _build_grid(options)
    if options.get("memory") is not None:
        parse_memory(options["memory"])
    place = check_device(options.get("device", "cpu"))
    folder = new_run_folder(out)
    names = view_names(options.get("views"))
    with show_checks() as checking:
        store = open_store(cache_folder(directory), dataset=options.get("dataset"), check=check, progress=checking)
        selections = choose_views(store, grid.fusions, views=names, choices=options["choices"])
        rows = StudyRows.load(store, selections, fusions=grid.fusions, needs_valid=grid.folds is None)
    prepare_ablation_out(folder, overwrite=overwrite)
    with show_grid() as progress:
        result = library_ablate(rows, grid, out=folder, device=place, memory=options.get("memory"), progress=progress)
    for note in write_ablation(result, folder):
        notes.print(f"[yellow]Note:[/] {safe(note)}")
    if as_json:
        print_json({"out": str(folder), **ablation_document(result)})
        return
    print_ablation(result, folder, store.path, choices=options["choices"])


def _merge(config: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the file, over which those of the command line go."""
    if config is None:
        return dict(given)
    from heads.ablation.grid_file import load_grid_file

    return {**load_grid_file(config), **given}


def _merge_choices(
    options: dict[str, Any], settings: list[str], chosen: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Put together what file, ``--set`` and the options say of settings and vectors; the settings go to ``options``."""
    tables = {name: options.pop(name, {}) for name in ("text", "image", "spectral")}
    common = {"loss": options.pop("loss", None), **options.pop("set", {})}
    named = {name: {**table, **chosen.get(name, {})} for name, table in tables.items() if table or name in chosen}
    options["settings"], choices = parse_settings(settings, common, choices=named)
    return choices


def _build_grid(options: Mapping[str, Any]) -> Any:
    from heads.ablation.grid import Grid
    from heads.ablation.grid_file import parse_numbers, parse_texts

    values = {**_DEFAULTS, **options}
    return Grid(
        heads=parse_texts(values["head"], "--head"),
        fusions=parse_texts(values["fusion"], "--fusion"),
        dims=parse_numbers(values["dim"], "--dim", number=int),
        lrs=parse_numbers(values.get("lr", []), "--lr", number=float),
        weight_decays=parse_numbers(values.get("weight_decay", []), "--weight-decay", number=float),
        seeds=values["seeds"],
        folds=values.get("folds"),
        controls=values.get("controls", True),
        screen=values.get("screen", False),
        settings=options["settings"],
    )
