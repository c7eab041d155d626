"""What was read, in a few lines."""

from __future__ import annotations

from pathlib import Path

from featcache.dataset.manifest import Manifest
from featcache.dataset.overview import UNNAMED, ClassCount, summarise


def read(folder: Path, *names: str, labels: str | None = None) -> Manifest:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return Manifest.from_source(folder, labels=labels)


def test_samples_are_counted_by_split_and_class_with_an_example_of_each(tmp_path: Path) -> None:
    names = (
        "train/real/1.jpg",
        "train/real/2.jpg",
        "train/sdxl/3.jpg",
        "train/ai/4.jpg",
        "test/5.jpg",
        "val/real/6.jpg",
    )
    assert read(tmp_path, *names).overview == (
        ClassCount("train", "real", 2, "train/real/1.jpg"),
        ClassCount("train", UNNAMED, 1, "train/ai/4.jpg"),
        ClassCount("train", "AI, sdxl", 1, "train/sdxl/3.jpg"),
        ClassCount("valid", "real", 1, "val/real/6.jpg"),
        ClassCount("test", "no label", 1, "test/5.jpg"),
    )


def test_a_caption_alone_is_called_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("caption,sample_id,label_a\na cat,x7,1\n")
    assert Manifest.from_source(path).overview == (ClassCount(None, UNNAMED, 1, "x7"),)


def test_pictures_of_a_table_are_named_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    path = tmp_path / "m.csv"
    path.write_text("image\na.png\n")
    assert Manifest.from_source(path).overview == (ClassCount(None, "no label", 1, "a.png"),)


def test_generators_share_a_line_where_there_are_many(tmp_path: Path) -> None:
    names = [
        f"{split}/{name}/1.jpg" for split in ("train", "test") for name in ("real", "ai", *map("g{}".format, range(9)))
    ]
    groups = read(tmp_path, *names).overview
    assert len(groups) == 22 and summarise(groups, 22) == groups
    assert summarise(groups, 12) == tuple(
        ClassCount(split, label, n, f"{split}/{folder}/1.jpg")
        for split in ("train", "test")
        for label, n, folder in (("real", 1, "real"), (UNNAMED, 1, "ai"), ("AI, 9 generators", 9, "g0"))
    )
