"""What documents name exists: paths, modules, classes, commands, options, and what links lead to."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import cli
from tests.docs.pages import ROOT, read_recipe

ROOTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = {path.relative_to(ROOT).as_posix(): path for path in [*map(ROOT.joinpath, ROOTS), *ROOT.glob("docs/**/*.md")]}
PACKAGES = ("featcache", "heads", "demo", "benchmarks", "tests")
FOREIGN_OPTIONS = {"--index-url", "--array", "--follow", "--no-deps", "--strict"}
FILES = {"featcache.toml", "heads.csv", "cli.py"}
"""Names that look like modules."""
FOREIGN_NAMES = {"AutoImageProcessor", "MAP_FIXED", "O_NOFOLLOW", "RENAME_EXCHANGE", "RENAME_SWAP", "trust_remote_code"}
"""Of other libraries, and of what was not taken."""
every_page = pytest.mark.parametrize("name", PAGES)

_FENCE = re.compile(r"^```.*?^```$", re.S | re.M)
_PATH = re.compile(rf"(?<![\w/.:-])(?:{'|'.join(PACKAGES)}|docs)/[\w./-]*\w/?")
_CODE = re.compile(r"`([^`\n]+)`")


def text(name: str) -> str:
    return PAGES[name].read_text(encoding="utf-8")


def prose(name: str) -> str:
    return _FENCE.sub("", text(name))


def codes(name: str) -> set[str]:
    return set(_CODE.findall(prose(name)))


def fenced(name: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(name), re.S | re.M)


def own_files(name: str) -> set[str]:
    """Files that a page of docs/adding makes."""
    return set(read_recipe(PAGES[name]).files) if name.startswith("docs/adding/") else set()


@cache
def sources() -> dict[str, str]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "docs" not in path.parts[-2:]]
    others = (ROOT / other for other in ("cli.py", "pyproject.toml", "Makefile"))
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in [*paths, *others]}


@cache
def words() -> set[str]:
    return {word for source in sources().values() for word in re.findall(r"\w+", source)}


def names_in(body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Names that statements define, and the statements inside of each."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.body
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from ((alias.asname or alias.name, []) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, []) for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If):
            yield from names_in(node.body)


def is_there(dotted: str) -> bool:
    """Whether a dotted name is that of a module, or of something that one defines; nothing is imported."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:n])
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if file.is_file():
            body = ast.parse(file.read_text("utf-8")).body
            for part in parts[n:]:
                found = dict(names_in(body))
                if part not in found:
                    return False
                body = found[part]
            return True
    return False


@every_page
def test_paths_that_are_named_exist(name: str) -> None:
    made = own_files(name)
    for path in _PATH.findall(prose(name)):
        is_number = re.fullmatch(r"docs/decisions/\d{4}", path)
        found = list(ROOT.glob(f"{path}-*.md")) if is_number else [ROOT / path] * (ROOT / path).exists()
        assert found or path in made, f"{name} names {path!r}"


@every_page
def test_modules_that_are_named_exist(name: str) -> None:
    for code in codes(name) - FILES:
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)}|cli)(\.\w+)+", code):
            assert is_there(code), f"{name} names {code!r}"


def test_rooms_that_the_architecture_names_without_their_package_exist() -> None:
    rooms = {path.name for package in ("featcache", "heads") for path in (ROOT / package).iterdir() if path.is_dir()}
    named = {code for code in codes("ARCHITECTURE.md") if re.fullmatch(r"(\w+)(\.\w+)+", code)}
    named = {code for code in named if code.split(".")[0] in rooms and "/" not in code}
    assert named
    for code in named:
        assert is_there(f"featcache.{code}") or is_there(f"heads.{code}"), code


@every_page
def test_names_of_code_occur_in_the_code(name: str) -> None:
    own = {word for block in _FENCE.findall(text(name)) for word in re.findall(r"\w+", block)}
    for code in codes(name):
        if re.fullmatch(r"_?[A-Za-z]\w*(\(\))?", code) and (code != code.lower() or "_" in code) and len(code) > 1:
            known = words() | own | FOREIGN_NAMES
            assert code.removesuffix("()").removesuffix("_sd") in known, f"{name} names {code!r}"


@every_page
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (PAGES[name].parent / path).resolve() if path else PAGES[name]
        assert there.exists() and there.is_relative_to(ROOT), f"{name} links to {target!r}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", there.read_text("utf-8")), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, f"{name} links to {target!r}, there are {sorted(slugs)}"


@cache
def commands() -> dict[str, dict[str, set[str]]]:
    apps = {"featcache": cli.featcache_app, "heads": cli.heads_app}
    found: dict[str, dict[str, set[str]]] = {}
    for app, typer_app in apps.items():
        group: Any = typer.main.get_command(typer_app)
        shared = {option for parameter in group.params for option in parameter.opts}
        found[app] = {
            command: {o for p in it.params for o in (*p.opts, *p.secondary_opts)} | shared | {"--help"}
            for command, it in group.commands.items()
        }
    return found


@every_page
def test_options_and_commands_that_are_named_exist(name: str) -> None:
    known = {option for app in commands().values() for options in app.values() for option in options}
    code = [each for each in (*codes(name), *fenced(name, "console")) if not each.startswith("python -m benchmarks")]
    for option in {o for each in code for o in re.findall(r"(?<![\w-])--[a-z][a-z-]+", each)} - FOREIGN_OPTIONS:
        # "--text-encoder E" stands beside "--<modality>-model NAME": what is left open is no option.
        assert option in known or option.endswith("-"), f"{name} names {option!r}"
    for each in code:
        for app, command in re.findall(r"(?:^|\$ )(featcache|heads) ([a-z]+(?:-[a-z]+)*)", each, re.M):
            assert command in commands()[app], f"{name} names {app} {command}"


@pytest.mark.parametrize("block", fenced("README.md", "console"))
def test_options_of_the_readme_belong_to_their_commands(block: str) -> None:
    for line in block.splitlines():
        found = re.match(r"(featcache|heads) ([a-z-]+)([^#]*)", line)
        if found:
            known = commands()[found[1]][found[2]]
            assert set(re.findall(r"(?<![\w-])--[a-z-]+", found[3])) <= known, line


def test_the_way_through_is_one_of_classes() -> None:
    defined = {word for source in sources().values() for word in re.findall(r"^class (\w+)", source, re.M)}
    for name in ("README.md", "ARCHITECTURE.md"):
        (line,) = re.findall(r"^(Manifest ─►.*)$", text(name), re.M)
        assert set(re.findall(r"\w+", line)) <= defined


@pytest.mark.parametrize("package", ["featcache", "heads"])
def test_the_picture_of_the_house_has_every_room_and_no_other(package: str) -> None:
    (picture,) = [block for block in fenced("ARCHITECTURE.md") if f" {package} …" in block]
    (column,) = [line.index(f"{package} …") for line in picture.splitlines() if f" {package} …" in line]
    drawn = re.findall(r"[a-z_]+", "\n".join(line[:column] for line in picture.splitlines()))
    rooms = {path.stem for path in (ROOT / package).iterdir() if path.suffix in ("", ".py") and path.stem[0] != "_"}
    assert sorted(drawn) == sorted(rooms)


def test_settings_of_a_project_that_the_readme_names_are_read(tmp_path: Path) -> None:
    from featcache.project import load_project

    (example,) = fenced("README.md", "toml")
    (others,) = re.findall(r"^\(Also (.*?): the options of the same names", prose("README.md"), re.M)
    lines = {key: f"{key} = {value!r}".lower().replace("'", '"') for key, value in tomllib.loads(example).items()}
    values = {"clip_text": "true", "square_crop": "true", "image_size": "9"}
    for key in _CODE.findall(others):
        value = values.get(key, '"x"')
        lines.setdefault(key, f"{key} = {value}")
    (tmp_path / "featcache.toml").write_text("\n".join(lines.values()), encoding="utf-8")
    load_project(tmp_path)
    (tmp_path / "featcache.toml").write_text('colour = "x"', encoding="utf-8")
    with pytest.raises(Exception, match="colour"):
        load_project(tmp_path)


def test_the_targets_of_make_are_those_that_are_told() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", sources()["Makefile"], re.M)
    told = set(re.findall(r"`make ([a-z-]+)", text("CONTRIBUTING.md")))
    assert told == {*phony.split()} - {"help", "clean"}
