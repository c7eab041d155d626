"""Tell the whole story on the embedded example, with the commands that a user would type: ``python -m demo``."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli import featcache_main, heads_main
from demo.dataset import write_dataset

__all__ = ["main"]

_MARKER = ".featcache-demo"
_PARTS = ("data", "models", "cache", "runs", "ablation")
_WIDTH = 80
_ENTRIES = {"featcache": featcache_main, "heads": heads_main}
_ROWS = (  # title, path of the score in what `heads evaluate --json` prints
    ("A  real or AI: balanced accuracy", "tasks.a.balanced_accuracy"),
    ("A  real or AI: accuracy", "tasks.a.accuracy"),
    ("A  real or AI: F1 of AI", "tasks.a.f1_binary"),
    ("A  real or AI: F1 macro", "tasks.a.f1_macro"),
    ("A  real or AI: AUC", "tasks.a.auc"),
    ("B  which generator: accuracy", "tasks.b.accuracy"),
    ("B  which generator: F1 macro", "tasks.b.f1_macro"),
    ("A+B  verdict: F1 macro", "joint.f1_macro"),
)


class _DemoError(Exception):
    """The story cannot go on; ``code`` is the exit status."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Shell:
    """Runs commands in the output folder, each shown as a user would type it."""

    folder: Path
    console: Console

    def run(self, command: str, *arguments: str) -> None:
        """Run a command whose output goes to the terminal."""
        self.console.print()
        self.console.print(f"$ {_wrap([command, *arguments])}", style="bold", markup=False, soft_wrap=True)
        self._call(command, arguments)

    def read(self, command: str, *arguments: str) -> Mapping[str, Any]:
        """Run a command that prints one JSON object, and return that."""
        output = io.StringIO()
        with redirect_stdout(output):
            self._call(command, (*arguments, "--json"))
        return dict(json.loads(output.getvalue()))

    def _call(self, command: str, arguments: Sequence[str]) -> None:
        """Call the entry point of the console script here: starting Python anew takes longer than most commands."""
        entry, before = _ENTRIES[command], sys.argv
        sys.stdout.flush()
        sys.argv = [command, *arguments]
        try:
            with chdir(self.folder):
                entry()
        except SystemExit as exit_:
            if exit_.code:
                message = f"{command} {arguments[0]} failed: exit status {exit_.code}"
                raise _DemoError(message, code=int(exit_.code)) from None
        finally:
            sys.argv = before


def main(argv: Sequence[str] | None = None) -> int:
    """Make the example, run the commands on it, and compare the two heads; return the exit status."""
    options = _parse_arguments(argv)
    console = Console(width=_WIDTH, highlight=False)
    start = time.perf_counter()
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `heads` does, before torch is loaded
    try:
        _prepare_folder(options.out)
        _write_inputs(options.out, captions=options.captions, seed=options.seed, console=console)
        console.print(f"\n$ cd {shlex.quote(str(options.out))}", style="bold", markup=False, soft_wrap=True)
        shell = _Shell(options.out, console)
        _run_story(shell)
        scores = [shell.read("heads", "evaluate", run, "--split", "test") for run in ("runs/base", "runs/pseudo")]
    except (_DemoError, OSError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"error: {error}\n")
        return error.code if isinstance(error, _DemoError) else 1
    _print_summary(console, *scores)
    _print_places(console, options.out, seconds=time.perf_counter() - start)
    return 0


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Run the whole method on an embedded example.")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder to write (default: %(default)s)")
    parser.add_argument("--captions", type=int, default=120, help="6 pictures of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of pictures and encoders (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.captions < 10:
        parser.error(f"--captions is {options.captions}, expected at least 10")
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}, expected at least 0")
    return options


def _prepare_folder(folder: Path) -> None:
    """Make an empty folder, or take the parts of an earlier story out of a folder that bears the marker."""
    marker = folder / _MARKER
    if folder.exists() and not folder.is_dir():
        raise _DemoError(f"{folder} is not a folder: choose another --out")
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise _DemoError(f"{folder} holds files that the demo did not make: choose another --out, or empty it")
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("Made by python -m demo, which may delete its parts and write them anew.\n", encoding="utf-8")
    for part in _PARTS:
        if (folder / part).exists():
            shutil.rmtree(folder / part)


def _write_inputs(folder: Path, *, captions: int, seed: int, console: Console) -> None:
    console.print(f"Drawing {6 * captions} pictures of {captions} captions: a photograph and five generators each.")
    write_dataset(folder / "data", captions=captions, seed=seed)
    console.print("Writing two untrained encoders, a small BERT and a small CLIP vision tower.")
    # Delayed: torch and transformers take seconds to import, and --help needs neither.
    from transformers.utils import logging

    from demo.encoders import write_text_encoder, write_vision_encoder

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    write_text_encoder(folder / "models" / "bert", seed=seed)
    write_vision_encoder(folder / "models" / "clip", seed=seed)


def _run_story(shell: _Shell) -> None:
    """Encode once; then train, refit with pseudo-labels, compare, and judge a picture, all from the cache."""
    models = ("--text-model", "models/bert", "--image-model", "models/clip")
    small = ("--set", "batch_size=32")  # a few hundred rows: the default of 256 makes too few steps an epoch
    shell.run("featcache", "extract", "data/manifest.csv", "--cache", "cache", *models, "--device", "cpu")
    shell.run("featcache", "status", "cache")
    shell.run("heads", "train", "cache", "--loss", "multitask", *small, "--out", "runs/base")
    shell.run("heads", "pseudo-label", "runs/base", "cache", "--split", "test", "--out", "runs/pseudo")
    shell.run("heads", "evaluate", "runs/base", "--split", "test")
    shell.run("heads", "evaluate", "runs/pseudo", "--split", "test")
    grid = ("--fusion", "concat,image,text", "--dim", "32,128", "--seeds", "2", "--folds", "3")
    shell.run("heads", "ablate", "cache", *grid, *small, "--out", "ablation")
    row = _choose_picture(shell.folder / "data" / "manifest.csv")
    shell.console.print(f"\nOne picture of the test split; in truth: {row['generator']}")
    shell.run("heads", "detect", "runs/base", "--image", f"data/{row['image']}", "--caption", row["caption"])


def _choose_picture(manifest: Path) -> dict[str, str]:
    """Return the first generated picture of the test split."""
    with manifest.open(encoding="utf-8", newline="") as file:
        return next(row for row in csv.DictReader(file) if row["split"] == "test" and row["label_a"] == "1")


def _wrap(words: Sequence[str]) -> str:
    """Quote for a shell; where 80 columns are not enough, go on in a new line that starts with an option."""
    lines = [""]
    for word in map(shlex.quote, words):
        if word.startswith("--"):
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    rows = lines[:1]
    for line in lines[1:]:
        if len(rows[-1]) + len(line) + 1 > _WIDTH - 4:
            rows.append(f"    {line}")
        else:
            rows[-1] += f" {line}"
    return " \\\n".join(rows)


def _print_summary(console: Console, base: Mapping[str, Any], pseudo: Mapping[str, Any]) -> None:
    table = Table(title=f"Split test, {base['n']} pictures", title_justify="left", width=_WIDTH)
    table.add_column("score")
    for name in ("base", "pseudo-labels", "always AI"):
        table.add_column(name, justify="right")
    reference = base["reference"]["always_ai"]
    for title, path in _ROWS:
        table.add_row(title, *(_format_score(scores, path) for scores in (base, pseudo, reference)))
    console.print()
    console.print(table)
    console.print(
        "The head pseudo-labels was refitted with the first head's own labels of these very pictures, so its "
        "scores are not those of unseen data. Always AI is the baseline to beat: 5 of 6 pictures are generated.\n"
    )
    console.print(
        "These numbers mean nothing beyond this demo: the encoders are untrained (random weights), and code drew "
        "the pictures, those of the five 'generators' as well as the 'photographs'. They show that every step "
        "runs."
    )


def _format_score(scores: Mapping[str, Any], path: str) -> str:
    """Follow a dotted path; a score that is not there or not defined becomes a dash."""
    value: Any = scores
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return "-" if value is None else f"{value:.3f}"


def _print_places(console: Console, folder: Path, *, seconds: float) -> None:
    console.print(f"\nWritten to {folder} in {seconds:.0f} s:", soft_wrap=True)
    for part, what in (
        ("data/", "manifest.csv and the pictures"),
        ("models/", "the two encoders, as ordinary model folders"),
        ("cache/", "the embeddings: all that heads need"),
        ("runs/base, runs/pseudo", "the trained heads, with settings and scores"),
        ("ablation/", "the grid of heads"),
    ):
        console.print(f"  {part:<24}{what}")


if __name__ == "__main__":
    sys.exit(main())
