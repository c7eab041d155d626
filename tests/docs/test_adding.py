"""Each page of docs/adding is followed in a copy of the tree, and proved by the commands that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, copy_tree, follow, read_recipe, run

PAGES = {path.stem: path for path in sorted((ROOT / "docs" / "adding").glob("*.md")) if path.stem != "README"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_adds_works_as_it_says(name: str, tmp_path: Path) -> None:
    recipe, tree = read_recipe(PAGES[name]), copy_tree(tmp_path / "tree")
    assert recipe.files and recipe.edits and recipe.commands
    follow(recipe, tree)
    for command in recipe.commands:
        done = run(tree, command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_adds_has_its_floor_and_is_tested(name: str, tmp_path: Path) -> None:
    recipe, tree = read_recipe(PAGES[name]), copy_tree(tmp_path / "tree")
    follow(recipe, tree)
    written = " ".join([*recipe.files, *dict.fromkeys(edit.path for edit in recipe.edits if edit.path.endswith(".py"))])
    for command in ("lint-imports", f"ruff check {written}", f"ruff format --check {written}"):
        done = run(tree, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    tests = [path for path in recipe.files if path.startswith("tests/")]
    assert tests and all(any(path in command for command in recipe.commands) for path in tests)


@pytest.mark.slow
def test_all_that_the_pages_add_goes_together_and_its_types_hold(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree", ".mypy_cache")  # without it this takes a minute more
    for page in PAGES.values():
        follow(read_recipe(page), tree)
    done = run(tree, "mypy -p featcache -p heads -m cli")
    assert done.returncode == 0, done.stdout
    done = run(tree, "lint-imports")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_room_without_a_floor_is_refused(tmp_path: Path) -> None:
    recipe, tree = read_recipe(PAGES["head"]), copy_tree(tmp_path / "tree")
    follow(recipe, tree)
    (tree / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"), encoding="utf-8")
    done = run(tree, "lint-imports")
    assert done.returncode == 1 and "heads.centroid" in done.stdout


def test_a_page_that_no_longer_fits_is_refused(tmp_path: Path) -> None:
    recipe, tree = read_recipe(PAGES["view"]), copy_tree(tmp_path / "tree")
    views = tree / "featcache" / "pictures" / "views.py"
    views.write_text(views.read_text("utf-8").replace('"rescale:0.5+jpeg:50"', '"rescale:0.4+jpeg:50"'), "utf-8")
    with pytest.raises(AssertionError, match=r"views\.py has these lines 0 times, expected once"):
        follow(recipe, tree)


def test_every_page_is_in_the_list() -> None:
    listed = (ROOT / "docs" / "adding" / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name}.md)" in listed for name in PAGES) and len(PAGES) >= 7
