"""Change one operator or constant of a module at a time, and see whether its own tests notice.

``python tests/mutants/run.py [MODULE …]`` takes the modules of ``modules.toml``, all of them if none is named. What no
test can notice is explained in ``survivors.toml``; what was found is kept in ``results.json``. The exit status is 1 if
fewer than 95 % of all mutants were killed when their module was last run, if one survives without an explanation, or if
one is explained that does not survive.

cosmic-ray makes the mutants. It changes the module's file in place, so all of this happens in a copy of the checkout.
(mutmut is faster, but leaves properties alone, whatever else is decorated, and the constants of modules.)
"""

from __future__ import annotations

import ast
import difflib
import gc
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIBRARIES = (
    *("h5py", "hypothesis", "lightgbm", "numpy", "PIL.Image", "scipy.special", "sklearn.metrics", "torch"),
    "transformers",
)
LEAST_KILLED = 0.95
PACKAGES = ("cosmic-ray", "hypothesis", "numpy", "pytest", "torch")
PYTEST = (
    *("-x", "-q", "--no-header", "-p", "no:cacheprovider"),
    # Hypothesis draws the same examples every time and remembers none, so that a mutant's fate is no matter of chance.
    "--hypothesis-profile=ci",
    # The libraries are there before pytest is, and have no assertions that it should explain.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)

# Of each operator the nearest other one. The rest of cosmic-ray's replacements are noticed by whatever notices these.
_NEIGHBOURS = {
    "ReplaceComparisonOperator": (
        *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Is_IsNot", "IsNot_Is"),
    ),
    "ReplaceBinaryOperator": (
        *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_FloorDiv", "Pow_Mul"),
        *("BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd", "LShift_RShift", "RShift_LShift"),
    ),
    "ReplaceUnaryOperator": ("USub_UAdd", "Delete_Not", "Delete_Invert"),
}
OPERATORS = {f"core/{kind}_{pair}" for kind, pairs in _NEIGHBOURS.items() for pair in pairs} | {
    *("core/ReplaceAndWithOr", "core/ReplaceOrWithAnd", "core/AddNot", "core/NumberReplacer"),
    *("core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue"),
    *("core/ReplaceBreakWithContinue", "core/ReplaceContinueWithBreak", "core/ExceptionReplacer"),
    *("core/RemoveDecorator", "core/ZeroIterationForLoop"),
}

Span = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, order=True)
class Mutant:
    """A changed line.

    Attributes
    ----------
    where : str
        Function or class of the line; empty at the top level.
    was, becomes : str
        The line before and after.
    """

    where: str
    was: str
    becomes: str


def main(names: Sequence[str]) -> int:
    """Run the mutants of some modules; return the exit status."""
    tests = {name: entry["tests"] for name, entry in _read(HERE / "modules.toml").items()}
    if unknown := [name for name in names if name not in tests]:
        print(f"{', '.join(unknown)}: not in {HERE / 'modules.toml'}")
        return 2
    explained = _read(HERE / "survivors.toml")
    is_sound = True
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # what they made is garbage in none of the processes to come, which collect it again and again
    for name in names or tests:
        started = time.monotonic()
        killed, survivors = _run(name, tests[name])
        known = Counter(Mutant(entry["where"], entry["was"], entry["becomes"]) for entry in explained.get(name, []))
        found = Counter(survivors)
        total = killed + len(survivors)
        for mutant in sorted((found - known).elements()):
            print(f"survived: {mutant}")
        for mutant in sorted((known - found).elements()):
            print(f"explained, but killed or gone: {mutant}")
        is_sound &= found == known
        print(f"{name}: {killed} of {total} killed, {len(survivors)} survived, {sum(known.values())} are explained")
        results = _record(name, killed=killed, total=total, seconds=time.monotonic() - started)
    killed, total = (sum(result[count] for result in results.values()) for count in ("killed", "total"))
    print(f"all modules: {killed} of {total} killed, {killed / total:.1%}")
    return 0 if is_sound and killed >= LEAST_KILLED * total else 1


def _run(name: str, tests: Sequence[str]) -> tuple[int, list[Mutant]]:
    """Return how many mutants of a module its tests kill, and the others."""
    killed, survivors = 0, []
    with _copy() as folder, use_db(folder / "mutants.sqlite") as session:
        started = time.monotonic()
        if not _passes(tests, folder, timeout=600, is_mutated=False):
            raise SystemExit(f"{' '.join(tests)} fail without any mutant")
        timeout = 15 + 3 * (time.monotonic() - started)
        init([folder / name], session, {})
        for mutation in _wanted(folder / name, [item.mutations[0] for item in session.work_items]):
            operator = get_operator(mutation.operator_name)()
            with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
                if _passes(tests, folder, timeout=timeout, is_mutated=True):
                    survivors.append(Mutant(mutation.definition_name or "", *_changed(before, after)))
                    print(f"{name}:{mutation.start_pos[0]} {survivors[-1]}", flush=True)
                else:
                    killed += 1
    return killed, survivors


def _passes(tests: Sequence[str], folder: Path, *, timeout: float, is_mutated: bool) -> bool:
    """Whether tests pass in a process that has loaded the libraries, but nothing of the checkout."""
    process = multiprocessing.get_context("fork").Process(target=_test, args=(tests, folder, is_mutated))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0


def _test(tests: Sequence[str], folder: Path, is_mutated: bool) -> None:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    # Bytecode is recognised by the time, in seconds, and the size of its source: two mutants may have both alike.
    sys.dont_write_bytecode = is_mutated
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.exit(pytest.main([*PYTEST, *tests]))


def _changed(before: str, after: str) -> tuple[str, str]:
    """Return the lines that differ, without their indentation."""
    diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))[3:]
    was, becomes = (" ".join(line[1:].strip() for line in diff if line.startswith(sign)) for sign in "-+")
    return was, becomes


@contextmanager
def _copy() -> Iterator[Path]:
    """Work in a copy of the checkout's files, ignored ones left out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as temp:
        folder = Path(temp)
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)
                os.utime(folder / name, (0, 0))  # so that no mutant is as old as the original, whose bytecode is kept
        yield folder


def _wanted(path: Path, mutations: Iterable[MutationSpec]) -> list[MutationSpec]:
    """Return the mutations of `OPERATORS` in code that is evaluated, from top to bottom."""
    tree = ast.parse(path.read_bytes())
    silent, evaluated = list(_silent(tree)), list(_defaults(tree))
    chosen = [
        mutation
        for mutation in mutations
        if mutation.operator_name in OPERATORS
        and (_is_in(mutation.start_pos, evaluated) or not _is_in(mutation.start_pos, silent))
    ]
    return sorted(chosen, key=lambda m: (m.start_pos, m.operator_name, m.occurrence))


def _silent(tree: ast.AST) -> Iterator[Span]:
    """Yield where annotations and the signatures of functions are: ``str | None`` is no sum, and ``*`` no product."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield (node.lineno, node.col_offset), (node.body[0].lineno, node.body[0].col_offset)
        elif isinstance(node, ast.AnnAssign):
            yield _span(node.annotation)


def _defaults(tree: ast.AST) -> Iterator[Span]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            yield from (_span(default) for default in (*node.defaults, *node.kw_defaults) if default is not None)


def _span(node: ast.expr) -> Span:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _is_in(position: tuple[int, int], spans: Iterable[Span]) -> bool:
    return any(start <= tuple(position) < end for start, end in spans)


def _record(name: str, *, killed: int, total: int, seconds: float) -> dict[str, Any]:
    """Keep what was found of a module; return what is known of all."""
    path = HERE / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results[name] = {
        "killed": killed,
        "total": total,
        "seconds": round(seconds),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
    }
    text = json.dumps(dict(sorted(results.items())), indent=1) + "\n"
    path.write_text(text, encoding="utf-8")
    return results


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
