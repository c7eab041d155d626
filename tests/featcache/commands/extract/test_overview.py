"""What extract says about what it read, and what it is told about labels."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import cli

SPECTRAL = ("--spectral-outputs", "peaks", "--text-model", "none", "--image-model", "none", "--device", "cpu")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def write(*names: str) -> None:
    for number, name in enumerate(names):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number, 99, 0)).save(path)


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.featcache_app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def lines(*words: object) -> list[str]:
    return [" ".join(line.split()) for line in call("extract", *words, *SPECTRAL).stdout.splitlines()]


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_extract_prints_samples_by_split_and_class_with_an_example(work: Path, flags: tuple[str, ...]) -> None:
    write("data/train/airplane/0_real/1.png", "data/train/airplane/1_fake/2.png", "data/test/3.png")
    assert lines("data", *flags)[:4] == [
        f"Read {work}/data: 3 samples",
        "train real 1 train/airplane/0_real/1.png",
        "train AI, airplane 1 train/airplane/1_fake/2.png",
        "test no label 1 test/3.png",
    ]


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_json_has_what_was_read(work: Path, flags: tuple[str, ...]) -> None:
    write("data/real/1.png", "data/ai/2.png")
    Path("data/ai/2.txt").write_text("null")
    document = json.loads(call("extract", "data", *flags, "--json", *SPECTRAL).stdout)
    assert document["read"] == [
        {"split": None, "label": "real", "n_samples": 1, "example": "real/1.png"},
        {"split": None, "label": "AI, generator unknown", "n_samples": 1, "example": "ai/2.png"},
    ]
    assert document["notes"] == ["1 caption such as 'null': taken for missing"]


def test_what_was_read_fits_a_narrow_terminal_and_a_few_lines(work: Path) -> None:
    names = [
        f"data/{split}/{name}/{'x' * 60}.png"
        for split in ("train", "test")
        for name in ("real", *map(str.upper, "abcdefgh"))
    ]
    write(*names)
    result = call("extract", "data", "--dry-run", *SPECTRAL)
    shown = result.stdout.splitlines()
    assert max(map(len, shown[1:])) == 80
    assert [line.split("x")[0] for line in shown[1:5]] == [
        "  train  real              1  train/real/",
        "  train  AI, 8 generators  8  train/A/",
        "  test   real              1  test/real/",
        "  test   AI, 8 generators  8  test/A/",
    ]
    assert shown[5].startswith("18 samples")


def test_data_without_labels_are_told_how_to_state_them(work: Path) -> None:
    write("data/1.png", "data/sdxl/2.png")
    assert "no labels: if there are some, --labels states them, such as '*=ai'" in lines("data", "--dry-run")
    stated = lines("data", "--dry-run", "--labels", "*=ai")
    assert stated[1] == "AI, generator unknown 2 1.png" and not any("no labels" in line for line in stated)
    assert not any("no labels" in line for line in lines("data", "--dry-run", "--labels", "none"))


def test_status_says_ai_of_unknown_generator(work: Path) -> None:
    write("data/real/1.png", "data/ai/2.png", "data/sdxl/3.png", "data/4.png")
    call("extract", "data", *SPECTRAL)
    shown = " ".join(call("status", "cache").stdout.split())
    assert "classes real 1, sdxl 1, AI, generator unknown 1, no label 1 contents" in shown


@pytest.mark.slow
def test_what_is_stated_is_remembered_by_the_cache(work: Path) -> None:
    write("data/train/a/1.png", "data/train/b/2.png")
    refused = call("extract", "data", *SPECTRAL, code=1)
    assert "--labels 'a=ai,b=ai'" in str(refused.exception)
    misspelt = call("extract", "data", "--labels", "a=real,c=ai", *SPECTRAL, code=1)
    assert "--labels says what 'c' means, found folders 'a', 'b', 'train'" in str(misspelt.exception)
    stated = lines("data", "--labels", "a=real", "--labels", "b=ai")
    assert stated[1:3] == ["train real 1 train/a/1.png", "train AI, b 1 train/b/2.png"]
    again = call("extract", "data", *SPECTRAL)
    assert "labels as stated before: a=real,b=ai" in again.stderr
    assert [" ".join(line.split()) for line in again.stdout.splitlines()][1:3] == stated[1:3]
    Path("data/train/a").rename("data/train/c")  # what is remembered goes on, said again too
    assert lines("data", "--dry-run")[1:3] == lines("data", "--dry-run", "--labels", "a=real,b=ai")[1:3]


def test_the_project_file_states_labels_of_its_own_data_alone(work: Path) -> None:
    write("data/1.png", "others/1.png")
    Path("featcache.toml").write_text('data = "data"\nlabels = "*=real"\n')
    assert "real 1 1.png" in lines("--dry-run")
    assert "real 1 1.png" in lines("data", "--dry-run")
    assert "AI, generator unknown 1 1.png" in lines("--labels", "*=ai", "--dry-run")
    assert "no label 1 1.png" in lines("others", "--dry-run")


@pytest.mark.parametrize("command", ["extract", "bench"])
def test_what_is_no_statement_is_refused(command: str, work: Path) -> None:
    write("data/1.png")
    result = call(command, "data", "--labels", "1=rael", *SPECTRAL, code=1)
    assert "labels '1=rael': '1=rael' is not VALUE=real or VALUE=ai" in str(result.exception)
    assert "it is empty" in call(command, "data", "--labels", " ", *SPECTRAL, code=2).stderr


def test_bench_needs_no_labels_and_takes_them(work: Path) -> None:
    write("data/train/sdxl/1.png")
    for labels in ((), ("--labels", "*=ai")):
        assert "1 pictures" in call("bench", "data", *labels, "--seconds", "0.01", *SPECTRAL).stdout
    assert "found folders" in str(call("bench", "data", "--labels", "sdlx=ai", *SPECTRAL, code=1).exception)


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_pictures_that_are_not_taken_are_counted_and_listed(work: Path, flags: tuple[str, ...]) -> None:
    write("data/1.png")
    for number in range(4):
        Path(f"data/{number}.DNG").write_bytes(b"II*\0")
    result = call("extract", "data", *flags, *SPECTRAL)
    reason = (
        "of a kind that is not decoded (JPEG, PNG, GIF, BMP, TIFF, PPM, WEBP, JPEG2000, AVIF, HEIF are): "
        "convert to PNG or JPEG"
    )
    assert f"left out 4 pictures (0.DNG, 1.DNG, 2.DNG …): {reason}" in result.stderr
    assert flags or "1 samples, 4 pictures left out" in result.stdout
    if not flags:
        line = next(line for line in result.stderr.splitlines() if line.startswith("left out"))
        assert line in call("bench", "data", "--seconds", "0.01", *SPECTRAL).stderr.splitlines()
    document = json.loads(call("extract", "data", *flags, "--json", *SPECTRAL).stdout)
    names = ["0.DNG", "1.DNG", "2.DNG", "3.DNG"]
    assert document["left_out"] == [{"reason": reason, "n": 4, "names": names}]


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_broken_members_of_tars_are_told_before_and_after(work: Path, flags: tuple[str, ...]) -> None:
    write("1.png")
    with tarfile.open("t.tar", "w") as tar:
        tar.add("1.png")
        for number in range(6):
            tar.addfile(tarfile.TarInfo(f"v1.5-{number}.png"), io.BytesIO())
    code = 0 if flags else 3
    shown = call("extract", "t.tar", *flags, *SPECTRAL, code=code).stdout
    assert "broken t.tar, sample 'v1': expected a picture named like 'v1.jpg', found 'v1.5-0.png'" in shown
    assert "… and 1 more broken parts, all in --json" in shown
    document = json.loads(call("extract", "t.tar", *flags, "--json", *SPECTRAL, code=code).stdout)
    assert len(document["broken"]) == 6


def test_two_blocks_that_look_like_a_range_are_told_once(work: Path) -> None:
    write("data/real/a.png", "data/fake/b.png")
    words = ("extract", "data", *SPECTRAL, "--image-outputs", "pooled,layers_mean:4-12", "--dry-run")
    said = "note layers_mean:4-12 is blocks 4 and 12; a range is layers_mean:4..12"
    assert call(*words).stderr.splitlines().count(said) == 1
    assert said not in call(*words, "--json").output


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_samples_that_the_data_have_no_more_are_told(work: Path, flags: tuple[str, ...]) -> None:
    write("data/1.png", "data/2.png", "data/3.png")
    assert "any more" not in call("extract", "data", *SPECTRAL).output
    Path("data/2.png").unlink()
    told = json.loads(call("extract", "data", *flags, "--json", *SPECTRAL).stdout)["notes"]
    assert told == [
        "1 sample that 'data' had before is not in the data any more: 2.png; "
        "heads will not see them, vectors stay until `featcache gc --delete`"
    ]
    assert ("any more" in call("extract", "data", *flags, *SPECTRAL).output) == bool(flags)  # else the table is new


def test_a_dry_run_has_one_value(work: Path) -> None:
    write("data/1.png")
    said = " ".join(call("extract", "data", "--dry-run=time", code=2).output.replace("│", " ").split())
    assert "Invalid value for --dry-run: 'time' is not 'timed'; --dry-run alone estimates no time" in said
