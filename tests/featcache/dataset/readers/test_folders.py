import os
from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading
from featcache.dataset.sample import ImageFile, Sample
from featcache.errors import ManifestError


def fill(folder: Path, *names: str, **captions: str) -> Path:
    """Write empty pictures, and captions by the stem's last part."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
        if path.stem in captions:
            path.with_suffix(".txt").write_bytes(captions[path.stem].encode())
    return folder


def read(folder: Path) -> tuple[Sample, ...]:
    return Manifest.from_source(folder).samples


def labels(folder: Path) -> dict[str, tuple[str | None, int, str | None]]:
    return {s.sample_id: (s.split, s.label_a, s.label_b) for s in read(folder)}


def test_a_sidecar_is_the_caption_without_its_last_newline(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "a/2.PNG", "3.webp", **{"1": " a cat,\nasleep \r\n", "2": " \n"})
    samples = read(tmp_path)
    assert [(s.sample_id, s.caption) for s in samples] == [
        ("3.webp", None),
        ("a/1.jpg", " a cat,\nasleep "),
        ("a/2.PNG", None),
    ]
    assert samples[1].image == ImageFile(str(tmp_path / "a" / "1.jpg"))
    assert {(s.split, s.label_a, s.label_b, s.group) for s in samples} == {(None, -1, None, None)}


@pytest.mark.parametrize("is_early", [False, True])
def test_every_ending_that_is_decoded_counts_and_no_other(is_early: bool, tmp_path: Path) -> None:
    early = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "TIFF"]
    late = ["avif", "jfif", "jpe", "JP2", "mpo", "pjpeg", "ppm", "pgm", "j2k", "apng"]
    fill(tmp_path, *(f"{ending}.{ending}" for ending in early + late), "notes.md", "noending")
    manifest = Manifest.from_source(tmp_path, earlier=lambda _: Reading(rules=1) if is_early else None)
    left = {name for each in manifest.left_out for name in each.names}
    if is_early:
        assert {s.sample_id for s in manifest.samples} == set(early)
        assert left == {f"{ending}.{ending}" for ending in late} and "--name" in manifest.left_out[0].reason
    else:
        assert {s.sample_id for s in manifest.samples} == {f"{ending}.{ending}" for ending in early + late}
        assert not left


def test_hidden_files_and_linked_folders_are_ignored(tmp_path: Path) -> None:
    fill(tmp_path, "data/1.jpg", "data/.2.jpg", "data/.cache/3.jpg", "elsewhere/4.jpg")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "5.jpg").symlink_to(tmp_path / "elsewhere" / "4.jpg")
    assert [s.sample_id for s in read(tmp_path / "data")] == ["1.jpg", "5.jpg"]


def test_pictures_with_one_stem_keep_their_endings(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg", "1.png", "2.jpg", **{"1": "both"})
    assert [(s.sample_id, s.caption) for s in read(tmp_path)] == [
        ("1.jpg", "both"),
        ("1.png", "both"),
        ("2.jpg", None),
    ]


def test_ids_do_not_depend_on_neighbours(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg", "1.png", "1.jpg.gif")
    assert [s.sample_id for s in read(tmp_path)] == ["1.jpg", "1.jpg.gif", "1.png"]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("a/1.jpg", "2.png"), ["2", "a/1"]),
        (("1.jpg", "1.png", "2.jpg"), ["1.jpg", "1.png", "2"]),
        (("1.jpg", "1.png", "1.jpg.gif"), ["1.jpg", "1.jpg.gif", "1.png"]),
        (("1.jpg", "1.avif"), ["1"]),
    ],
)
def test_a_known_folder_keeps_its_ids(names: tuple[str, ...], ids: list[str], tmp_path: Path) -> None:
    fill(tmp_path, *names)
    early = Manifest.from_source(tmp_path, earlier=lambda _: Reading(rules=1))
    assert [s.sample_id for s in early.samples] == ids


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["sidecar", "fifo", "broken link"])
def test_orphans_are_refused_or_skipped(kind: str, tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    if kind == "sidecar":
        (tmp_path / "2.txt").write_text("alone")
    elif kind == "fifo":
        os.mkfifo(tmp_path / "2.jpg")
    else:
        (tmp_path / "2.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ManifestError, match=r"2\.(txt|jpg).*--on-orphan skip"):
        Manifest.from_source(tmp_path)
    manifest = Manifest.from_source(tmp_path, on_orphan="skip")
    assert [s.sample_id for s in manifest.samples] == ["1.jpg"]
    assert len(manifest.orphans) == 1


@pytest.mark.parametrize(
    "name", ["README.txt", "readme_first.TXT", "License.txt", "a/NOTICE-2.txt", "notes.txt", "a/notes.caption"]
)
def test_notes_about_a_folder_are_no_orphans(name: str, tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "a/2.jpg", name, **{"2": "a cat"})
    assert [(s.sample_id, s.caption) for s in read(tmp_path)] == [("a/1.jpg", None), ("a/2.jpg", "a cat")]
    assert Manifest.from_source(tmp_path).notes == ()


def test_texts_that_are_named_like_no_picture_are_told_and_no_orphans(tmp_path: Path) -> None:
    fill(tmp_path, "a/001.jpg", "a/settings.txt", "urls.txt", "coco.json", **{"001": "a cat"})
    manifest = Manifest.from_source(tmp_path)
    assert [s.caption for s in manifest.samples] == ["a cat"]
    assert manifest.notes == ("2 texts that belong to no picture are not read, the first 'a/settings.txt'",)


@pytest.mark.parametrize("ending", [".txt", ".caption"])
def test_captions_in_a_folder_of_their_own_are_orphans(ending: str, tmp_path: Path) -> None:
    fill(tmp_path, "images/001.jpg", f"captions/002{ending}")
    with pytest.raises(ManifestError, match="the caption has no picture beside it"):
        Manifest.from_source(tmp_path)


def test_a_picture_may_be_named_like_a_note(tmp_path: Path) -> None:
    fill(tmp_path, "notice-board.jpg", **{"notice-board": "a board"})
    assert [s.caption for s in read(tmp_path)] == ["a board"]


@pytest.mark.timeout(10)
def test_a_sidecar_that_is_no_file_is_refused_without_blocking(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "1.txt")
    with pytest.raises(ManifestError, match="not a regular file"):
        Manifest.from_source(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"), [(b"caf\xe9", "expected UTF-8, found 0xe9 at byte 3"), (b"a\0b", "without NUL")]
)
def test_a_sidecar_that_is_no_text_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    (tmp_path / "1.txt").write_bytes(data)
    with pytest.raises(ManifestError, match=message):
        Manifest.from_source(tmp_path)


def test_a_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    (tmp_path / os.fsdecode(b"\xff\x1b.jpg")).write_bytes(b"x")
    with pytest.raises(ManifestError, match="expected a name in UTF-8") as caught:
        Manifest.from_source(tmp_path)
    assert str(caught.value).isprintable()


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "notes.md")
    with pytest.raises(ManifestError, match=r"holds no pictures, expected files named \.jpg"):
        Manifest.from_source(tmp_path)


def test_class_folders_give_labels(tmp_path: Path) -> None:
    fill(tmp_path, "Real/1.jpg", "sdxl/2.jpg", "dalle3/deep/3.jpg", "AI/4.jpg", "5.jpg", **{"2": "a cat"})
    assert labels(tmp_path) == {
        "Real/1.jpg": (None, 0, "real"),
        "sdxl/2.jpg": (None, 1, "sdxl"),
        "dalle3/deep/3.jpg": (None, 1, "dalle3"),
        "AI/4.jpg": (None, 1, None),
        "5.jpg": (None, -1, None),
    }
    manifest = Manifest.from_source(tmp_path)
    assert manifest.generators == ("dalle3", "sdxl")
    assert [s.caption for s in manifest.samples if s.sample_id == "sdxl/2.jpg"] == ["a cat"]


def test_split_folders_on_top_give_splits_and_then_classes(tmp_path: Path) -> None:
    fill(tmp_path, "train/real/1.jpg", "Val/sdxl/2.jpg", "testing/fake/3.jpg", "test/4.jpg")
    assert labels(tmp_path) == {
        "train/real/1.jpg": ("train", 0, "real"),
        "Val/sdxl/2.jpg": ("valid", 1, "sdxl"),
        "testing/fake/3.jpg": ("test", 1, None),
        "test/4.jpg": ("test", -1, None),
    }


def test_folders_without_real_ones_mean_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "sdxl/1.jpg", "holiday/2.jpg")
    assert set(labels(tmp_path).values()) == {(None, -1, None)}


def test_splits_beside_other_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/real/1.jpg", "extra/1.jpg")
    with pytest.raises(ManifestError, match=r"in 'train', which is called after a split, and 'extra/1\.jpg' in none"):
        Manifest.from_source(tmp_path)
    with pytest.raises(ManifestError, match="expected splits only or no splits on top, found 'train' beside"):
        Manifest.from_source(tmp_path, earlier=lambda _: Reading(rules=1))


def test_a_split_name_among_plain_folders_means_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "test/1.jpg", "holiday/2.jpg")
    assert set(labels(tmp_path).values()) == {(None, -1, None)}


def test_a_sidecar_that_says_nothing_is_no_caption(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg", "2.jpg", **{"1": "None", "2": "a cat"})
    assert [s.caption for s in read(tmp_path)] == [None, "a cat"]
    assert Manifest.from_source(tmp_path).notes == ("1 caption such as 'None': taken for missing",)
    early = Manifest.from_source(tmp_path, earlier=lambda _: Reading(rules=1))
    assert [s.caption for s in early.samples] == ["None", "a cat"]


def test_only_folders_below_the_data_mean_something(tmp_path: Path) -> None:
    fill(tmp_path / "fake" / "train" / "real", "cats/1.jpg", "dogs/2.jpg", "3.jpg")
    assert set(labels(tmp_path / "fake" / "train" / "real").values()) == {(None, -1, None)}


def test_what_is_stated_about_folders_holds(tmp_path: Path) -> None:
    fill(tmp_path, "train/0_authentic/1.jpg", "train/midjourney/2.jpg", "test/3.jpg")
    manifest = Manifest.from_source(tmp_path, labels="0_authentic=real,midjourney=ai")
    assert [(s.split, s.label_a, s.label_b) for s in manifest.samples] == [
        ("test", -1, None),
        ("train", 0, "real"),
        ("train", 1, "midjourney"),
    ]
    assert manifest.generators == ("midjourney",)
    with pytest.raises(ManifestError, match="in its split folders hold no real pictures"):
        Manifest.from_source(tmp_path)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("deep/in/metadata.csv",), "1 table of metadata is not read (name one, or the folder that it is in): "),
        (("labels.csv",), "1 table is not read (name one as DATA, or call it metadata.csv): "),
        (
            ("deep/a.JSONL", "labels.tsv"),
            "2 tables are not read (name one as DATA, or call it metadata.csv), the first ",
        ),
    ],
)
def test_tables_beside_pictures_are_told(names: tuple[str, ...], told: str, tmp_path: Path) -> None:
    fill(tmp_path, "deep/in/1.jpg", "00000/1.jpg", "00000.parquet", "00000_stats.json", *names)
    assert Manifest.from_source(tmp_path).notes == (f"{told}{names[0]!r}",)


def test_a_folder_of_nothing_that_can_be_taken_says_why(tmp_path: Path) -> None:
    fill(tmp_path, "1.psd", "2.svg")
    with pytest.raises(
        ManifestError, match=r"no pictures that can be taken, found 2 such as '1\.psd': .*convert to PNG"
    ):
        Manifest.from_source(tmp_path)
    fill(tmp_path / "tars", "1.tar", "x.md")
    with pytest.raises(ManifestError, match="a folder of tars must hold nothing else"):
        Manifest.from_source(tmp_path / "tars")
