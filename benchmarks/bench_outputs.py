"""Class tokens against means of patch tokens: which outputs of DeiT-tiny tell real pictures from generated ones.

``python -m benchmarks.bench_outputs [--cache DIR] [--print]``

It needs the material of the slow tests (FEATCACHE_TEST_MATERIAL) and keeps what it extracts in ``--cache``. Test rows
are not read. ``--print`` prints the table of the record that is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ablate_pictures import DATA, MODEL
from benchmarks.record import RESULTS, describe_conditions

__all__ = ["RECORD", "table"]

RECORD = RESULTS / "outputs.json"
OUTPUTS = "cls,mean,layers:all,layers_mean:all"
GRIDS = ("cls;mean;layers:all;layers_mean:all", "layers:all;layers_mean:all")
SETTING = (
    "3,155 real and AI-generated pictures of 2022-23 from several public repositories without a common licence, for "
    "local use only; upscaling and earlier compression may tell them apart. 1,869 of train and 521 of valid are scored "
    "in 5 folds; rows of one prompt, or of one real picture, are together; test is not read. DeiT-tiny at 224 pixels, "
    "float16 on disk; captions are not used."
)


def main() -> None:
    """Extract, compare, write the record and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where the vectors of the pictures are kept")
    parser.add_argument("--print", action="store_true", help="print the record that is there")
    options = parser.parse_args()
    if not options.print:
        with tempfile.TemporaryDirectory(prefix="bench-outputs-") as scratch:
            write_outputs(options.cache or Path(scratch) / "cache", Path(scratch))
    print(table(json.loads(RECORD.read_text(encoding="utf-8"))))


def write_outputs(cache: Path, scratch: Path) -> None:
    """Run the commands and keep what the ablations write."""
    encoder = ("--text-model", "none", "--image-model", MODEL, "--image-outputs", OUTPUTS)
    call("featcache", "extract", DATA, "--cache", cache, *encoder, "--device", "cpu")
    grid = ("--head", "linear", "--fusion", "image", "--folds", 5, "--no-controls", "--image-outputs")
    for number, outputs in enumerate(GRIDS):
        call("heads", "ablate", cache, *grid, outputs, "--out", scratch / str(number))
    document = {
        "benchmark": "outputs",
        "command": "python -m benchmarks.bench_outputs",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "setting": SETTING,
        "conditions": describe_conditions(),
        "ablations": [json.loads((scratch / str(n) / "ablation.json").read_text("utf-8")) for n in range(len(GRIDS))],
    }
    RECORD.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def call(command: str, *words: object) -> None:
    """Run a command of this checkout."""
    subprocess.run([sys.executable, "-c", f"import cli; cli.{command}_main()", *map(str, words)], check=True)


def table(record: Mapping[str, Any]) -> str:
    """Return a record as a Markdown table: a line for each of the outputs."""
    head = ("outputs", "A: balanced accuracy", "B: macro F1", "score", "against `cls`", "against `layers:all`")
    rows = [head, ("---",) * len(head), *_lines(record)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _lines(record: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    against_cls, against_layers = (ablation["table"] for ablation in record["ablations"])
    layers = {line["image_outputs"]: line for line in against_layers}
    for line in against_cls:
        scores = [f"{line[name]:.3f}" for name in ("a_balanced_accuracy", "b_f1_macro", "score")]
        other = layers.get(line["image_outputs"])
        yield f"`{line['image_outputs']}`", *scores, _show(line), _show(other)


def _show(line: Mapping[str, Any] | None) -> str:
    if line is None or line["vs_first"] is None:
        return ""
    return f"{line['vs_first']:+.3f} ({line['vs_first_low']:+.3f} to {line['vs_first_high']:+.3f})"


if __name__ == "__main__":
    main()
