"""Where splits are: in each form of tree that is unambiguous; all others are refused, or mean nothing."""

from __future__ import annotations

import pytest

from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.reading import TODAY
from featcache.errors import ManifestError

PAIR = ("nature", "ai")


def splits(*folders: str, stated: str = "none") -> tuple[list[str | None], tuple[str, ...]]:
    """Give the splits of a picture in each folder, and the notes."""
    paths = [f"{folder}/1.jpg" if folder else "1.jpg" for folder in folders]
    found, notes = label_paths("data", paths, TODAY.state(stated))
    return [split for split, _, _ in found.values()], notes


def below(*parents: str, names: tuple[str, ...] = PAIR) -> tuple[str, ...]:
    return tuple(f"{parent}/{name}" for parent in parents for name in names)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train2017", "val2017", "test_set"), ["train", "valid", "test"]),
        (below("train2017", "val2017", names=("real", "fake")), ["train", "train", "valid", "valid"]),
        (("data/train/ai", "data/val/nature"), ["train", "valid"]),
        (below("data/train", "data/test/biggan", names=("0_real", "1_fake")), ["train", "train", "test", "test"]),
        (below("A/train", "B/x/test"), ["train", "train", "test", "test"]),
        (("images/train", "images/val"), ["train", "valid"]),
        (below("real", "sdxl", names=("train", "test")), ["train", "test", "train", "test"]),
    ],
)
@pytest.mark.parametrize("stated", ["none", "auto"])
def test_splits_are_found_above_all_pictures(folders: tuple[str, ...], expected: list[str], stated: str) -> None:
    assert splits(*folders, stated=stated) == (expected, ())


@pytest.mark.parametrize(
    ("wrapped", "alone"),
    [
        (below("data/train", names=("real", "sdxl")), below("train", names=("real", "sdxl"))),
        (
            below("data/train", "data/test/biggan", names=("0_real", "1_fake")),
            below("train", "test/biggan", names=("0_real", "1_fake")),
        ),
        (below("A/train", "B/val", names=("real", "sdxl")), below("train", "val", names=("real", "sdxl"))),
        (
            below(
                "A/test/biggan", "B/test/cyclegan/cat", "B/test/cyclegan/cow", "B/test/glide", names=("0_real", "ai")
            ),
            below("test/biggan", "test/cyclegan/cat", "test/cyclegan/cow", "test/glide", names=("0_real", "ai")),
        ),
    ],
)
def test_a_folder_of_data_sets_is_read_as_they_are(wrapped: tuple[str, ...], alone: tuple[str, ...]) -> None:
    found = [label_paths("data", [f"{folder}/1.jpg" for folder in folders], TODAY)[0] for folders in (wrapped, alone)]
    assert [*found[0].values()] == [*found[1].values()]
    assert {label for _, label, _ in found[0].values()} == {0, 1}


@pytest.mark.parametrize("stray", ["", "ADM"])
def test_a_stray_picture_above_the_splits_is_in_none_and_is_told(stray: str) -> None:
    found, notes = splits(stray, *below("ADM/train", "VQDM/val"), stated="auto")
    assert found == [None, "train", "train", "valid", "valid"]
    assert notes == (f"in no split folder, and so in no split: 1, the first '{stray and stray + '/'}1.jpg'",)
    assert splits("", "train/real", stated="auto")[0] == [None, "train"]


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "test", ""),
        ("photos/test", "photos/paris"),
        ("photos/test",),
        ("photos/train", "test"),
        ("real/train", "sdxl/train"),
        ("a/test/train/x", "b/test"),
    ],
)
def test_without_classes_below_them_such_folders_mean_nothing_in_doubt(folders: tuple[str, ...]) -> None:
    assert splits(*folders, stated="auto") == ([None] * len(folders), ())


@pytest.mark.parametrize(
    ("folders", "split", "other"),
    [
        (("train/real", "real"), "train", "'real/1.jpg' in none"),
        (("train/real", "extra"), "train", "'extra/1.jpg' in none"),
        (("train/airplane/0_real", "train/airplane/1_fake", "extra"), "train", "'extra/1.jpg' in none"),
        ((*below("ADM/train", "VQDM/train"), "docs"), "train", "'docs/1.jpg' in none"),
        (("real", "test_images"), "test_images", "'real/1.jpg' in none"),
        (("train1/real", "val1/fake"), "train1", "it cannot be told where splits are"),
    ],
)
def test_classes_in_some_splits_alone_are_refused_with_what_to_do(
    folders: tuple[str, ...], split: str, other: str
) -> None:
    with pytest.raises(ManifestError, match=f"is in '{split}', which is called after a split, and {other}") as caught:
        splits(*folders, stated="auto")
    assert "move away what is in none, or say --labels none" in str(caught.value)
    assert splits(*folders)[0] == [None] * len(folders)


def test_what_stands_beside_a_pair_below_a_split_inside_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"hold some that cannot be told by their names, found 'ADM/train/masks/1"):
        splits(*below("ADM/train"), "ADM/train/masks", stated="auto")
    assert splits(*below("ADM/train"), "ADM/train/thumbnails", "ADM/train", stated="auto")[0] == ["train"] * 4


def test_a_split_is_no_generator_where_there_are_several_in_a_path() -> None:
    with pytest.raises(ManifestError, match=r"'train/train/photo/1\.jpg' is in 'train', which is called after a split"):
        splits("deepfake/cats/test", "train/nature/test", "train/train/photo", stated="auto")


def test_data_sets_of_several_kinds_stand_side_by_side() -> None:
    places = {
        "one/train/real": ("train", 0, "real"),
        "one/train/sdxl": ("train", 1, "sdxl"),
        "two/test/biggan/0_real": ("test", 0, "real"),
        "two/test/biggan/1_fake": ("test", 1, "biggan"),
        "three/train2017/nature": ("train", 0, "real"),
        "three/val2017/ai": ("valid", 1, "three"),
    }
    found, _ = label_paths("data", ["stray.png", *(f"{place}/1.png" for place in places)], TODAY)
    assert [*found.values()] == [(None, -1, None), *places.values()]
