"""What a command line or its data make impossible is said before any framework is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]

REFUSED = {
    "featcache extract DATA --views hflp": "view 'hflp' has the part 'hflp'",
    "featcache extract DATA --shard 9/2": "shard 9/2 does not exist",
    "featcache extract DATA --memory x": "memory is 'x'",
    "featcache extract DATA --max-failures x": "limit of failures 'x'",
    "featcache extract DATA --gpus x": "gpus 'x' is neither all nor a number",
    "featcache extract DATA --labels 1=rael": "labels '1=rael'",
    "featcache extract DATA --column image": "--column 'image'",
    "featcache extract DATA --json-log nowhere/log": "log 'nowhere/log' cannot be written",
    "featcache extract DATA --cache STRANGE": "is neither empty nor a cache",
    "featcache extract nowhere.csv": "there is no file 'nowhere.csv'",
    "featcache bench DATA --views hflp": "view 'hflp' has the part 'hflp'",
    "featcache bench DATA --memory x": "memory is 'x'",
    "featcache bench nowhere.csv": "there is no file 'nowhere.csv'",
    "heads train nowhere": "cache 'nowhere' does not exist",
    "heads train nowhere --views hflp": "view 'hflp' has the part 'hflp'",
    "heads train nowhere --memory x": "memory is 'x'",
    "heads train nowhere --set lr=x": "lr is 'x'",
    "heads ablate nowhere --memory x": "memory is 'x'",
    "heads scan nowhere DATA --out verdicts.csv": "nowhere is not the folder of a run",
    "heads scan RUN nowhere --out verdicts.csv": "there is no file 'nowhere'",
    "heads detect nowhere --image a.png": "nowhere is not the folder of a run",
    "heads card nowhere --out card": "nowhere is not the folder of a run",
    "heads verify-log nowhere": "log nowhere cannot be read",
    "heads evaluate nowhere": "nowhere is not the folder of a run",
}

PROGRAM = """
import json, sys
from typer.testing import CliRunner
import cli
found = {}
for line in json.load(sys.stdin):
    program, *arguments = line
    result = CliRunner().invoke(getattr(cli, program + "_app"), arguments)
    heavy = sorted({"torch", "transformers"} & set(sys.modules))
    wrong = " ".join(part.strip(" │") for part in result.stderr.splitlines())
    found[" ".join(line)] = [f"{result.exception} {wrong}", heavy]
json.dump(found, sys.stdout)
"""


def test_a_refusal_imports_no_framework(tmp_path: Path) -> None:
    data, strange = tmp_path / "data.csv", tmp_path / "strange"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    data.write_text("image\na.png\n")
    strange.mkdir()
    (strange / "letter.txt").write_text("mine")
    names = {"DATA": str(data), "STRANGE": str(strange), "RUN": str(ROOT / "tests" / "legacy" / "runs" / "mlp-concat")}
    lines = [[names.get(word, word) for word in line.split()] for line in REFUSED]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PROGRAM}"],
        cwd=tmp_path, input=json.dumps(lines), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    for (error, heavy), (line, expected) in zip(json.loads(done.stdout).values(), REFUSED.items(), strict=True):
        assert expected in error and not heavy, (line, error, heavy)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "data.csv", "strange"]
