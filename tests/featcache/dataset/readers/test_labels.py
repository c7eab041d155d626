"""Labels in columns: what each value means, in CSV as in JSONL, and what a user states about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading
from featcache.errors import ManifestError

REAL, AI, NOTHING = (0, "real"), (1, None), (-1, None)


def read(
    folder: Path, columns: dict[str, list[object]], *, kind: str = "csv", labels: str | None = None, rules: int = 2
) -> Manifest:
    """Write a table of captions with these columns, and read it."""
    n_rows = len(next(iter(columns.values())))
    table = {"caption": [f"caption {i}" for i in range(n_rows)]} | columns
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    path = folder / f"m.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(table), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return Manifest.from_source(path, labels=labels, earlier=lambda _: Reading(rules=rules))


def pairs(manifest: Manifest) -> list[tuple[int, str | None]]:
    return [(sample.label_a, sample.label_b) for sample in manifest.samples]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_booleans_and_decimals_are_numbers_in_every_format(kind: str, tmp_path: Path) -> None:
    values: list[object] = [True, False, 1.0, 0.0, 1, 0, None]
    found = pairs(read(tmp_path, {"label_a": values}, kind=kind))
    assert found == [AI, REAL, AI, REAL, AI, REAL, NOTHING]


@pytest.mark.parametrize("column", ["label_a", "generator", "label_b"])
@pytest.mark.parametrize("word", ["nature", "natural", "human", "real", "Real", "0_real", "real_images"])
def test_words_for_real_pictures_mean_real_in_every_column(column: str, word: str, tmp_path: Path) -> None:
    manifest = read(tmp_path, {column: [word, "fake"]})
    assert pairs(manifest) == [REAL, AI] and manifest.generators == ()


@pytest.mark.parametrize("column", ["label_a", "generator", "label_b"])
@pytest.mark.parametrize("word", ["ai", "AI", "fake", "generated", "1_fake", "ai-generated"])
def test_words_for_ai_pictures_mean_an_unknown_generator(column: str, word: str, tmp_path: Path) -> None:
    manifest = read(tmp_path, {column: ["real", word]})
    assert pairs(manifest) == [REAL, AI] and manifest.generators == ()


def test_a_generator_and_a_word_for_ai_stand_side_by_side(tmp_path: Path) -> None:
    manifest = read(tmp_path, {"generator": ["sdxl", "ai", "nature", "None", "unknown", None]})
    assert pairs(manifest) == [(1, "sdxl"), AI, REAL, NOTHING, NOTHING, NOTHING]
    assert manifest.generators == ("sdxl",)
    manifest = read(tmp_path, {"label_b": [2, 2, 0, 1], "generator": ["sdxl", "ai", "coco", "fake"]})
    assert pairs(manifest) == [(1, "sdxl"), (1, "sdxl"), REAL, (1, "1")]
    manifest = read(tmp_path, {"label_b": ["fake", "real", None], "generator": ["sdxl", "real", "sdxl"]})
    assert pairs(manifest) == [(1, "sdxl"), REAL, (1, "sdxl")]


@pytest.mark.parametrize(
    "columns",
    [
        {"label_a": [0], "generator": ["ai"]},
        {"label_a": [1], "generator": ["nature"]},
        {"label_b": [0], "generator": ["ai"]},
        {"label_b": ["ai"], "generator": ["natural"]},
    ],
)
def test_columns_that_contradict_each_other_are_refused(columns: dict[str, list[object]], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"m\.csv, line 2, .*contradicts the (class|generator)"):
        read(tmp_path, columns)


@pytest.mark.parametrize(("kind", "value"), [("csv", "True"), ("jsonl", True), ("jsonl", "false")])
@pytest.mark.parametrize("column", ["label_b", "generator"])
def test_a_switch_is_no_class(column: str, kind: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"unknown label .*expected a"):
        read(tmp_path, {column: [value]}, kind=kind)
    assert pairs(read(tmp_path, {column: [value]}, kind=kind, labels="true=ai,false=real")) in ([AI], [REAL])


@pytest.mark.parametrize(
    ("columns", "labels", "expected"),
    [
        ({"label_a": [1, 0, None]}, "1=real,0=ai", [REAL, AI, NOTHING]),
        ({"label_a": ["1.0", "False", "fake"]}, "1=real,0=ai", [REAL, AI, AI]),
        ({"label_a": ["coco", "gen", "real"]}, "coco=real,gen=ai", [REAL, AI, REAL]),
        ({"label_a": [0, 1], "label_b": [0, 3]}, "0=real,1=ai", [REAL, (1, "3")]),
        ({"label_b": [1, 0]}, "1=real,0=ai", [REAL, AI]),
        ({"generator": ["coco", "midjourney", "sdxl"]}, "coco=real", [REAL, (1, "midjourney"), (1, "sdxl")]),
        ({"generator": ["0_real", "midjourney"]}, "0_real=real,midjourney=ai", [REAL, (1, "midjourney")]),
        ({"generator": ["coco", "sdxl", "ai", "real", None]}, "coco=real,*=ai", [REAL, (1, "sdxl"), AI, AI, AI]),
        ({"label_b": [0, 2, None]}, "*=ai", [AI, (1, "2"), AI]),
        ({"label_a": [0, 1]}, "*=ai", [AI, AI]),
        ({"label_a": [0, 1], "generator": ["real", "sdxl"]}, "*=real", [REAL, REAL]),
        ({"split": ["train", "test"]}, "*=ai", [AI, AI]),
        ({"label_a": ["odd", 1], "generator": ["x", "real"]}, "none", [NOTHING, NOTHING]),
        ({"generator": ["sdxl", "real"]}, "auto", [(1, "sdxl"), REAL]),
    ],
)
def test_what_is_stated_holds(
    columns: dict[str, list[object]], labels: str, expected: list[tuple[int, str | None]], tmp_path: Path
) -> None:
    manifest = read(tmp_path, columns, labels=labels)
    assert pairs(manifest) == expected
    assert set(manifest.generators) == {name for _, name in expected} - {"real", None}


def test_a_statement_about_what_is_nowhere_is_refused(tmp_path: Path) -> None:
    for labels in ("sldx=real", "sldx=real,real=ai"):
        with pytest.raises(
            ManifestError,
            match=r"m\.csv: --labels says what 'sldx' means, found 'real', 'sdxl' in label_b; did you mean 'sdxl'\?",
        ):
            read(tmp_path, {"generator": ["real", "sdxl"]}, labels=labels)
    assert pairs(read(tmp_path, {"label_a": [1, 1]}, labels="1=real,0=ai")) == [REAL, REAL]
    with pytest.raises(ManifestError, match=r"expected a column label_a\|label_b\|generator, found 'caption', 'split'"):
        read(tmp_path, {"split": ["train"]}, labels="coco=real")


def test_a_number_that_was_forgotten_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="line 3, column 'label_a': --labels says what 1 means, and nothing of '0'"):
        read(tmp_path, {"label_a": [1, 0]}, labels="1=real")


def test_a_statement_holds_for_the_competitions_wide_tables_too(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(b"x")
    path = tmp_path / "wide.csv"
    path.write_text("caption,coco,sdxl,midjourney\na cat,a.png,b.png,c.png\n")

    def found(labels: str | None) -> list[tuple[int, str | None]]:
        return pairs(Manifest.from_source(path, labels=labels))

    assert found(None) == [REAL, (1, "sdxl"), (1, "midjourney")]
    assert found("*=ai") == [AI, (1, "sdxl"), (1, "midjourney")]
    assert found("sdxl=real") == [REAL, REAL, (1, "midjourney")]
    assert found("none") == [NOTHING] * 3
    with pytest.raises(ManifestError, match="'dalle4' means, found the classes 'midjourney', 'real', 'sdxl'"):
        found("dalle4=ai")


@pytest.mark.parametrize("word", ["nan", "None", "NULL", "null"])
def test_captions_that_say_nothing_are_missing_and_it_is_said_once(word: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    columns = {"image": ["a.png", "a.png", "a.png"], "caption": [word, "a cat", word]}
    manifest = read(tmp_path, dict(columns))
    assert [sample.caption for sample in manifest.samples] == [None, "a cat", None]
    assert manifest.notes == (f"2 captions such as {word!r}: taken for missing",)
    early = read(tmp_path, dict(columns), rules=1)
    assert [sample.caption for sample in early.samples] == [word, "a cat", word]
    assert "kept as text" in early.notes[0] and len(early.notes) == 1
    assert early.reading == Reading(rules=1)


def test_by_rules_1_names_of_classes_stay_until_labels_are_stated(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"generator": ["nature", "ai", "None", "real"]}
    early = read(tmp_path, columns, rules=1)
    assert pairs(early) == [(1, "nature"), (1, "ai"), (1, "None"), REAL]
    assert early.generators == ("None", "ai", "nature") and "'ai', 'nature': kept as the name" in early.notes[0]
    stated = read(tmp_path, columns, rules=1, labels="auto")
    assert pairs(stated) == [REAL, AI, NOTHING, REAL]
    assert stated.reading == Reading(rules=1, labels="auto")


def test_groups_that_say_nothing_do_not_belong_together(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"group": ["None", "None", "g"]}
    assert [sample.group for sample in read(tmp_path, columns).samples] == [None, None, "g"]
    assert [sample.group for sample in read(tmp_path, columns, rules=1).samples] == ["None", "None", "g"]
