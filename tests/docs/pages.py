"""Pages that tests follow in a copy of the tree: the files that they write, their edits, and commands to prove them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("featcache", "heads", "tests", "cli.py", "pyproject.toml")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
_NOT_COPIED = shutil.ignore_patterns("legacy", "docs")


@dataclass(frozen=True)
class Edit:
    """Lines of a file, and what takes their place."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Recipe:
    """What a page says is to be done, in its own words."""

    files: dict[str, str]
    edits: tuple[Edit, ...]
    commands: tuple[str, ...]


def read_recipe(page: Path) -> Recipe:
    """Read a page: ``python`` blocks are files, ``diff`` blocks edits, ``console`` blocks commands."""
    files, edits, commands = {}, [], []
    for language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        first, _, rest = text.partition("\n")
        if language == "python":
            files[first.removeprefix("# ")] = rest
        elif language == "diff":
            edits += [_edit(first.removeprefix("--- "), hunk) for hunk in rest.split("@@\n")]
        else:
            commands += text.splitlines()
    return Recipe(files, tuple(edits), tuple(commands))


def _edit(path: str, hunk: str) -> Edit:
    lines = hunk.splitlines(keepends=True)
    before, after = ("".join(line[1:] or "\n" for line in lines if line[0] not in sign) for sign in "+-")
    return Edit(path, before, after)


def copy_tree(folder: Path, *others: str) -> Path:
    """Copy the packages and their tests, and other folders as far as they are there."""
    folder.mkdir()
    for name in (*COPIED, *(name for name in others if (ROOT / name).is_dir())):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=_NOT_COPIED)
        else:
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def follow(recipe: Recipe, tree: Path) -> None:
    """Do in a copy what a page says: each file is new, and the lines of each edit are there, once."""
    for name, text in recipe.files.items():
        path = tree / name
        assert not path.exists(), f"{name} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for edit in recipe.edits:
        path = tree / edit.path
        text = path.read_text(encoding="utf-8")
        n_found = text.count(edit.before)
        assert n_found == 1, f"{edit.path} has these lines {n_found} times, expected once:\n{edit.before}"
        path.write_text(text.replace(edit.before, edit.after), encoding="utf-8")


def run(tree: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment in a copy, whose packages come before those that are installed."""
    program, *arguments = command.split()
    # What is measured is the tree, not its copies.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST_"))}
    environment |= {"PYTHONPATH": str(tree), "PYTEST_DEBUG_TEMPROOT": str(tree.parent)}
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=tree, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
