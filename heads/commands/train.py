"""``heads train``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from featcache.console import CheckDigests, cache_folder
from heads.commands.choices import build_choices, parse_settings
from heads.commands.fitted import fitted_summary, print_fitted
from heads.commands.folders import new_run_folder
from heads.commands.options import (
    HEAD,
    VERDICTS,
    AsJson,
    Confidence,
    DatasetName,
    DeviceChoice,
    EncoderName,
    FusionName,
    HeadName,
    LossChoice,
    MaxFnr,
    MaxFpr,
    MemorySize,
    Outputs,
    Overwrite,
    PresetName,
    check_device,
)
from heads.commands.render import (
    next_command,
    notes,
    print_json,
    show_checks,
    show_steps,
)
from heads.commands.unstored import stored_at_the_end
from heads.commands.view_options import InvariantTo, ViewName, ViewNames, further_views, view_names
from heads.head.balance import BALANCES

if TYPE_CHECKING:
    from featcache import FeatureStore
    from heads.head.protocol import Device
    from heads.runs.run import Run
    from heads.runs.training import TrainPlan

__all__ = ["train"]

BalanceName = StrEnum("BalanceName", {name: name for name in BALANCES})  # type: ignore[misc]
_CONCAT = FusionName("concat")


def train(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache.")] = None,
    head: Annotated[
        HeadName | None,
        typer.Option(
            metavar="H",
            help=f"Kind of head: {', '.join(HeadName)}; default: ensemble of lda and mlp, or mlp with options of mlp.",
            rich_help_panel=HEAD,
        ),
    ] = None,
    loss: LossChoice = None,
    fusion: Annotated[
        FusionName,
        typer.Option(metavar="F", help=f"Which vectors it sees: {', '.join(FusionName)}.", rich_help_panel=HEAD),
    ] = _CONCAT,
    dim: Annotated[
        int | None,
        typer.Option(min=1, metavar="D", help="Hidden units of head mlp; default: 512.", rich_help_panel=HEAD),
    ] = None,
    preset: Annotated[
        PresetName | None, typer.Option(help="Settings of the paper's code.", rich_help_panel=HEAD)
    ] = None,
    balance: Annotated[
        BalanceName | None,
        typer.Option(
            metavar="B",
            help="What weighs the same in the loss: none (rows, the default), class, or origin (within classes).",
            rich_help_panel=HEAD,
        ),
    ] = None,
    members: Annotated[
        str | None,
        typer.Option(
            metavar="M,…",
            help="Of head ensemble: kinds, 'mlp*5' (five seeds), linear:image (some columns); or folders of runs.",
            rich_help_panel=HEAD,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything random.", rich_help_panel=HEAD)] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another setting: lr, epochs, patience …; or which vectors: image.view=jpeg:75, spectral.view …",
            rich_help_panel=HEAD,
        ),
    ] = None,
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    text_outputs: Outputs = None,
    image_outputs: Outputs = None,
    spectral_outputs: Outputs = None,
    view: ViewName = None,
    views: ViewNames = None,
    invariant_to: InvariantTo = None,
    dataset: DatasetName = None,
    device: DeviceChoice = None,
    memory: MemorySize = None,
    max_fpr: MaxFpr = None,
    max_fnr: MaxFnr = None,
    confidence: Confidence = 0.95,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="K",
            help="Fit K heads more, to estimate scores on train rows: for tables, and no guarantee.",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="New folder; default: ./runs/<time>.")] = None,
    overwrite: Overwrite = False,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Fit one head on split train; select and calibrate on split valid; never look at test."""
    names = view_names(views)
    options: dict[str, object] = {
        "head": head and head.value,
        "loss": loss and loss.value,
        "fusion": fusion.value,
        "dim": dim,
    }
    options |= {
        "preset": preset and preset.value,
        "balance": balance and balance.value,
        "members": members,
        "seed": seed,
    }
    options |= {"invariant_to": further_views(invariant_to, names)}
    given = build_choices(
        encoders={"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder},
        outputs={"text": text_outputs, "image": image_outputs, "spectral": spectral_outputs},
        view=view,
        fusions=[fusion.value],
    )
    values, choices = parse_settings(settings or [], options, choices=given)

    from featcache import open_store
    from heads.runs.run import prepare_run_out
    from heads.runs.training import TrainPlan
    from heads.verdicts.guarantees import Demand

    demand = Demand(max_fpr, max_fnr, confidence)
    asked = cast("Device | None", device and device.value)
    plan = TrainPlan.make(values, demand=demand, folds=folds, device=asked, memory=memory)
    check_device(asked or "cpu")
    folder, names = new_run_folder(out), names if views else view_names(plan.members.views or None)
    prepare_run_out(folder, overwrite=overwrite)
    with stored_at_the_end():
        with show_checks() as checking:
            store = open_store(cache_folder(directory), dataset=dataset, check=check, progress=checking)
            rows = plan.read(store, names, choices)
        plan = _for_columns(plan, rows.stored.n_columns)
        with show_steps() as progress:
            fitted, crossed = plan.fit(rows, progress)
        run = plan.save(rows, fitted, crossed, out=folder, overwrite=overwrite)
    if as_json:
        print_json(fitted_summary(run))
    else:
        print_fitted(run)
        _say_next(run, store, cache=directory, dataset=dataset)


def _for_columns(plan: TrainPlan, n_columns: int) -> TrainPlan:
    """Return the plan for so many columns, and say if it is another."""
    found = plan.for_columns(n_columns)
    if found is not plan:
        notes.print(
            f"{n_columns:,} columns are many for linear discriminants: a network alone, --head ensemble for both"
        )
    return found


def _say_next(run: Run, store: FeatureStore, *, cache: Path | None, dataset: str | None) -> None:
    scored = "test" if "test" in store.splits else "valid"
    next_command("heads", "evaluate", run.path, split=scored, cache=cache, dataset=dataset)
