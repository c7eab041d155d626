"""``heads detect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heads.commands.options import DeviceName
from heads.commands.render import console, next_command, print_json, safe

if TYPE_CHECKING:
    from heads.runs.detection import Verdict

__all__ = ["detect"]

_BAR = 24


def detect(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    image: Annotated[Path | None, typer.Option(metavar="F", help="The picture.")] = None,
    caption: Annotated[str | None, typer.Option(metavar="T", help="Its caption, if the head looks at text.")] = None,
    image_model: Annotated[str | None, typer.Option(help="Where the image encoder is now: hub id or folder.")] = None,
    text_model: Annotated[str | None, typer.Option(help="Where the text encoder is now: hub id or folder.")] = None,
    device: Annotated[DeviceName, typer.Option(help="Where to compute.")] = DeviceName.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the encoders on one picture and print the verdict."""
    from featcache import ImageFile
    from heads.errors import HeadsError
    from heads.runs.detection import detect as library_detect
    from heads.runs.run import load_run

    loaded = load_run(run)
    try:
        data = None if image is None else ImageFile(str(image)).read_bytes()
    except OSError as error:
        raise HeadsError(f"cannot read the picture {image}: {error.strerror or error}") from error
    models = {name: model for name, model in (("image", image_model), ("text", text_model)) if model}
    found = library_detect(loaded, data, caption=caption, models=models, device=device.value)
    if as_json:
        print_json(found.to_dict())
        return
    _print_verdict(found)
    next_command("heads", "evaluate", run, "--split", "test")


def _print_verdict(found: Verdict) -> None:
    if found.verdict == "real":
        console.print("Verdict: [bold green]real[/]")
    else:
        maker = f", most likely by [bold]{safe(found.generator)}[/]" if found.generator else ""
        console.print(f"Verdict: [bold red]AI-generated[/]{maker}")
    sign = "≥" if found.verdict == "ai" else "<"
    console.print(f"P(AI) {found.p_ai:.3f} {sign} threshold {found.threshold:.3f}\n")
    table = Table("class", "probability", "", box=None, header_style="dim", pad_edge=False)
    for name, p in found.probabilities.items():
        table.add_row(safe(name), f"{p:.3f}", "█" * round(p * _BAR))
    console.print(table)
    for modality, place in found.models.items():
        console.print(f"[dim]{safe(modality)} encoder: {safe(place)}[/]", soft_wrap=True)
