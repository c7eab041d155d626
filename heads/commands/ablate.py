"""``heads ablate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.commands.interrupt import interruptible
from featcache.console import CheckDigests, cache_folder
from heads.ablation.grid_file import load_grid_file
from heads.ablation.request import AblationRequest, split_outputs
from heads.commands.ablate_result import print_ablation
from heads.commands.choices import Choices, build_choices, parse_settings
from heads.commands.folders import new_run_folder
from heads.commands.options import (
    GRID,
    HEAD,
    TRIALS,
    AsJson,
    DatasetName,
    DeviceChoice,
    EncoderName,
    HoldOutAxis,
    LossChoice,
    MemorySize,
    OutputsList,
    Overwrite,
    SelectBy,
    check_device,
)
from heads.commands.render import notes, print_json, safe, show_checks, show_grid
from heads.commands.view_options import ViewNames, view_names
from heads.data.folds import MIN_FOLDS
from heads.head.kinds import HEADS

if TYPE_CHECKING:
    from heads.ablation.ablation import AblationResult

__all__ = ["ablate"]


def _check_folds(given: int | None) -> int | None:
    if given is not None and given != 0 and given < MIN_FOLDS:
        raise typer.BadParameter(f"{given} is neither 0 nor a number from {MIN_FOLDS} on")
    return given


def ablate(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache.")] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="H,…", help=f"Kinds of head: {', '.join(HEADS)}; default: mlp.", rich_help_panel=GRID),
    ] = None,
    fusion: Annotated[
        str | None, typer.Option(metavar="F,…", help="Fusions; default: concat,image,text.", rich_help_panel=GRID)
    ] = None,
    dim: Annotated[
        str | None,
        typer.Option(metavar="D,…", help="Hidden units of head mlp; default: 32,64,128,256,512.", rich_help_panel=GRID),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(metavar="R,…", help="Learning rates of head mlp; default: its own.", rich_help_panel=GRID),
    ] = None,
    weight_decay: Annotated[
        str | None,
        typer.Option(metavar="W,…", help="Weight decays of head mlp; default: its own.", rich_help_panel=GRID),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Seeds 0 to N - 1; default: 3.", rich_help_panel=TRIALS)
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            callback=_check_folds,
            metavar="K",
            help="Score train and valid in K folds, 3 or more; default: 5; 0: the half of valid that selects nothing.",
            rich_help_panel=TRIALS,
        ),
    ] = None,
    controls: Annotated[
        bool | None,
        typer.Option(
            "--controls/--no-controls",
            help="Fit on shuffled text and labels too; default: yes.",
            rich_help_panel=TRIALS,
        ),
    ] = None,
    screen: Annotated[
        bool | None,
        typer.Option(
            "--screen/--no-screen", help="Fit in full only what a quick look finds promising.", rich_help_panel=TRIALS
        ),
    ] = None,
    hold_out: Annotated[
        HoldOutAxis | None,
        typer.Option(
            metavar="WHAT",
            help="Fit once more without each generator, or origin, and judge these rows: generator or origin.",
            rich_help_panel=TRIALS,
        ),
    ] = None,
    select: Annotated[
        SelectBy | None,
        typer.Option(
            metavar="BY",
            help="What is best: by score (default), or by mean AUC of what --hold-out leaves out: held-out.",
            rich_help_panel=TRIALS,
        ),
    ] = None,
    loss: LossChoice = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another setting, as for heads train.", rich_help_panel=HEAD),
    ] = None,
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    text_outputs: OutputsList = None,
    image_outputs: OutputsList = None,
    spectral_outputs: OutputsList = None,
    views: ViewNames = None,
    dataset: DatasetName = None,
    device: DeviceChoice = None,
    memory: MemorySize = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="F", help="TOML file with these options, for long ones.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="D", help="New folder; default: ./runs/<time>.")] = None,
    overwrite: Overwrite = False,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Fit a grid of heads and compare their validation scores; test is never read.

    An ablation that was interrupted goes on when it is asked for again with the same --out.
    """
    given = AblationRequest(
        head=head,
        fusion=fusion,
        dim=dim,
        lr=lr,
        weight_decay=weight_decay,
        seeds=seeds,
        folds=folds,
        views=views,
        controls=controls,
        screen=screen,
        hold_out=hold_out and hold_out.value,
        select=select and select.value,
        loss=loss and loss.value,
        device=device and device.value,
        memory=memory,
        dataset=dataset,
    )
    chosen = build_choices(
        encoders={"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder},
        outputs={"text": text_outputs, "image": image_outputs, "spectral": spectral_outputs},
    )
    request = given if config is None else given.over(load_grid_file(config))
    common, said = parse_settings(settings or [], request.settings, choices=_join(request.choices, chosen))
    choices, compared = split_outputs(said)

    from featcache import open_store
    from heads.ablation.ablation import ablate as library_ablate
    from heads.ablation.files import prepare_ablation_out
    from heads.ablation.ledger import begun_folds
    from heads.ablation.study_rows import StudyRows
    from heads.data.choices import choose_outputs, choose_views

    folder = new_run_folder(out)
    if request.folds is None and not overwrite:
        request = replace(request, folds=begun_folds(folder))
    grid = request.grid(common, outputs=compared)
    place, names = check_device(request.device or "cpu"), view_names(request.views)
    with show_checks() as checking:
        store = open_store(cache_folder(directory), dataset=request.dataset, check=check, progress=checking)
        selections = choose_views(store, grid.fusions, views=names, choices=choices)
        outputs = choose_outputs(store, grid.outputs, views=names, choices=choices)
        rows = StudyRows.load(store, selections, fusions=grid.fusions, outputs=outputs, needs_valid=grid.folds is None)
    prepare_ablation_out(folder, overwrite=overwrite)
    with interruptible("heads", *([] if out else ["--out", str(folder)])), show_grid() as progress:
        result = library_ablate(rows, grid, out=folder, device=place, memory=request.memory, progress=progress)
    _tell(result, folder, store.path, choices=choices, dataset=request.dataset, as_json=as_json)


def _join(tables: Mapping[str, Mapping[str, str]], chosen: Choices) -> Choices:
    """Return which vectors are meant: what the options say goes over what the file says."""
    modalities = dict.fromkeys([*tables, *chosen])
    return {modality: {**tables.get(modality, {}), **chosen.get(modality, {})} for modality in modalities}


def _tell(
    result: AblationResult, folder: Path, cache: Path, *, choices: Choices, dataset: str | None, as_json: bool
) -> None:
    """Write the folder of an ablation, and print what is in it."""
    from heads.ablation.files import ablation_document, write_ablation

    for note in write_ablation(result, folder):
        notes.print(f"[yellow]Note:[/] {safe(note)}")
    if as_json:
        print_json({"out": str(folder), **ablation_document(result)})
    else:
        print_ablation(result, folder, cache, choices=choices, dataset=dataset)
