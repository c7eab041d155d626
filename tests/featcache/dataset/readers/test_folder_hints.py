"""What is told of folders that may mean more than they are read as, and that what it says to type works."""

from __future__ import annotations

import re
import shlex

import pytest

from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.reading import TODAY


def paths(folders: str) -> list[str]:
    return [f"{folder}/1.jpg" for folder in folders.split()]


@pytest.mark.parametrize(
    ("folders", "stating", "generators"),
    [
        ("coco/real sdxl/fake biggan/fake", "fake=ai,real=real,biggan=ai,sdxl=ai", {"biggan", "sdxl"}),
        ("coco/nature sdxl/ai", "ai=ai,nature=real,sdxl=ai", {"sdxl"}),
        ("coco/real a/fake b/fake c/fake d/fake", "fake=ai,real=real", set()),
        ("x/real y/cats", "real=real", set()),
        ("real/cats fake/sdxl fake/mj", "fake=ai,mj=ai,real=real,sdxl=ai", {"mj", "sdxl"}),
        ("train/real train/fake/sdxl val/fake", "fake=ai,real=real,sdxl=ai", {"sdxl"}),
    ],
)
def test_what_may_be_a_class_or_a_generator_is_told_with_a_statement_that_makes_it_one(
    folders: str, stating: str, generators: set[str]
) -> None:
    _, (note,) = label_paths("data", paths(folders), TODAY)
    typed = re.findall(r"--labels ('.*?')", note)
    assert ",".join(word for each in typed for word in shlex.split(each)) == stating
    found, notes = label_paths("data", paths(folders), TODAY.state(stating))
    assert not notes
    assert {label_b for _, label_a, label_b in found.values() if label_a == 1} - {None} == generators


@pytest.mark.parametrize(
    "folders",
    [
        "real/cats real/dogs fake/cats",
        "biggan/0_real biggan/1_fake",
        "real/1 fake/2 fake/images",
        "nature paris human/old",
        "real sdxl fake",
        "real " + " ".join(f"fake/day{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(51)),
    ],
)
def test_of_what_pictures_show_and_of_other_folders_nothing_is_told(folders: str) -> None:
    assert label_paths("data", paths(folders), TODAY)[1] == ()


def test_of_many_generators_some_are_stated() -> None:
    _, (note,) = label_paths("data", paths("real " + " ".join(f"fake/gen{n}" for n in range(9))), TODAY)
    assert "gen3=ai" in note
    assert "gen4=ai" not in note
    assert "and so on" in note
