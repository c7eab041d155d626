"""``heads ablate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from heads.commands.options import EncoderName, HeadName, LossName, cache_folder, new_run_folder, parse_settings
from heads.commands.render import console, next_command, notes, print_json, safe, score, show_grid

if TYPE_CHECKING:
    from heads.ablation import AblationResult

__all__ = ["ablate"]


def ablate(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache.")] = None,
    fusion: Annotated[str, typer.Option(metavar="F,…", help="Fusions.")] = "concat,image,text",
    dim: Annotated[str, typer.Option(metavar="D,…", help="Hidden units of head mlp.")] = "32,64,128,256,512",
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Seeds 0 to N - 1.")] = 3,
    head: Annotated[HeadName, typer.Option(help="Kind of head; linear and gbdt have no --dim.")] = HeadName.mlp,
    loss: Annotated[LossName | None, typer.Option(help="Of head mlp; default: multitask.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another setting, as for heads train."),
    ] = None,
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    dataset: Annotated[str | None, typer.Option(help="Which data set of the cache, if it has several.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="D", help="New folder; default: ./runs/<time>.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the ablation at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit a grid of heads and compare their validation scores; test is never read."""
    fusions, dims = _names(fusion), _numbers(dim)
    options = {"head": head.value, "loss": loss and loss.value}
    values, choices = parse_settings(settings or [], options, encoders={"text": text_encoder, "image": image_encoder})

    from featcache import open_store
    from heads.ablation import ablate as library_ablate
    from heads.ablation import check_ablation_out, write_ablation
    from heads.features import choose_selections, load_fit_features
    from heads.fusion import check_fusion, fusion_modalities

    folder = new_run_folder(out)
    check_ablation_out(folder, overwrite=overwrite)
    store = open_store(cache_folder(directory), dataset=dataset)
    for name in fusions:
        check_fusion(name, store.modalities, where=f"cache {store.path}")
    needed = dict.fromkeys(modality for name in fusions for modality in fusion_modalities(name))
    features = load_fit_features(store, choose_selections(store, needed, choices=choices))
    with show_grid() as progress:
        result = library_ablate(features, values, fusions=fusions, dims=dims, seeds=range(seeds), progress=progress)
    note = write_ablation(result, folder, overwrite=overwrite)
    if note:
        notes.print(f"[yellow]Note:[/] {safe(note)}")
    if as_json:
        print_json({"out": str(folder), **result.to_dict()})
        return
    _print_result(result, folder)
    best = max(result.summary(), key=lambda record: record["score"])
    width = ("--dim", best["dim"]) if best["dim"] else ()
    next_command("heads", "train", store.path, "--head", head.value, "--fusion", best["fusion"], *width)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in _names(text)]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers like 32,64", param_hint="--dim") from None


def _print_result(result: AblationResult, folder: Path) -> None:
    rows = result.n_rows
    console.print(
        f"{len(result.rows)} heads on the same {rows['train']:,} training and {rows['valid']:,} validation rows"
    )
    if rows["refused"]:
        console.print(f"[yellow]{rows['refused']:,}[/] refused: a modality that one of the fusions needs is missing")
    table = Table("fusion", box=None, header_style="dim", pad_edge=False)
    for title in ("dim", "score", "A bal. acc.", "B F1 macro", "parameters", "s"):
        table.add_column(title, justify="right")
    for record in result.summary():
        table.add_row(safe(record["fusion"]), *_cells(record))
    console.print(table)
    console.print("Selecting part of validation, mean ± sd over seeds; no score is of unseen data")
    console.print(f"Tables and plot: [bold]{safe(folder)}[/]", soft_wrap=True)


def _cells(record: dict[str, Any]) -> Sequence[str]:
    def spread(name: str) -> str:
        sd = record[f"{name}_sd"]
        return score(record[name]) + ("" if sd is None else f" ± {sd:.3f}")

    dim, n_parameters = record["dim"], record["n_parameters"]
    return (
        "" if dim is None else str(dim),
        spread("score"),
        spread("a_balanced_accuracy"),
        spread("b_f1_macro"),
        "–" if n_parameters is None else f"{n_parameters:,}",
        f"{record['seconds']:.1f}",
    )
