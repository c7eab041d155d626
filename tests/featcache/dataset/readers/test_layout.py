"""What the names of folders say: each layout as people have it, and the words that are never guessed wrong."""

from __future__ import annotations

import itertools
import re

import pytest

from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.errors import ManifestError

REAL, AI, NOTHING = (0, "real"), (1, None), (-1, None)
EARLY = Reading(rules=1)


def labels(*folders: str, stated: str | None = None, reading: Reading = TODAY) -> dict[str, tuple[object, ...]]:
    """Label a picture in each folder: by its split, if there is one, and both labels."""
    paths = [f"{folder}/1.jpg" if folder else "1.jpg" for folder in folders]
    found, _ = label_paths("data", paths, reading if stated is None else reading.state(stated))
    return {"/".join(folder): label[1:] if label[0] is None else label for folder, label in found.items()}


@pytest.mark.parametrize(
    ("real", "ai"),
    [
        *itertools.product(
            ("real", "Nature", "0_real", "real_images", "natural", "HUMAN", "Real Photos"), ("ai", "1_fake")
        ),
        *itertools.product(("photo", "authentic", "photos"), ("AI", "fake_images", "generated", "ai-generated")),
        ("real", "synthetic"),
        ("1-real", "0-fake"),
        ("real_faces", "fake_faces"),
    ],
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_words_for_real_and_ai_pictures_are_classes_where_they_are_siblings(real: str, ai: str, split: str) -> None:
    found = labels(f"{split}{real}", f"{split}{ai}/deep")
    assert [label[-2:] for label in found.values()] == [REAL, AI]
    assert all(label[0] == "train" for label in found.values() if split)


def test_each_class_of_a_tree_has_a_pair_as_cnndetection_has_it() -> None:
    found = labels("train/airplane/0_real", "train/airplane/1_fake", "val/car/0_real", "val/car/1_fake")
    assert found == {
        "train/airplane/0_real": ("train", *REAL),
        "train/airplane/1_fake": ("train", 1, "airplane"),
        "val/car/0_real": ("valid", *REAL),
        "val/car/1_fake": ("valid", 1, "car"),
    }


def test_the_topmost_of_several_folders_above_a_pair_names_the_generator() -> None:
    pairs = ("biggan", "cyclegan/apple", "cyclegan/zebra")
    found = labels(*(f"test/{pair}/{word}" for pair in pairs for word in ("0_real", "1_fake")))
    assert {label[2] for label in found.values() if label[1] == 1} == {"biggan", "cyclegan"}
    assert {label for name, label in found.items() if name.endswith("0_real")} == {("test", *REAL)}


def test_a_folder_that_is_above_everything_names_no_generator() -> None:
    found = labels("GenImage/ADM/nature", "GenImage/ADM/ai", "GenImage/VQDM/nature", "GenImage/VQDM/ai")
    assert {label[1] for label in found.values()} == {"real", "ADM", "VQDM"}


def test_splits_on_top_and_generators_below_as_genimage_is_often_arranged() -> None:
    assert labels("train/ADM/nature", "train/ADM/ai", "val/ADM/ai") == {
        "train/ADM/nature": ("train", *REAL),
        "train/ADM/ai": ("train", 1, "ADM"),
        "val/ADM/ai": ("valid", 1, "ADM"),
    }


def test_splits_right_above_the_pairs_as_genimage_comes() -> None:
    trees = ("ADM/imagenet_ai_0508_adm", "BigGAN/imagenet_ai_0419_biggan")
    found = labels(
        *(f"{tree}/{split}/{word}" for tree in trees for split in ("train", "val") for word in ("nature", "ai"))
    )
    assert found["ADM/imagenet_ai_0508_adm/train/nature"] == ("train", *REAL)
    assert found["BigGAN/imagenet_ai_0419_biggan/val/ai"] == ("valid", 1, "BigGAN")


@pytest.mark.parametrize("above", ["real-vs-fake", "images", "data", "12", "real_vs_fake/real-vs-fake"])
def test_a_folder_with_no_name_of_a_generator_names_none(above: str) -> None:
    assert set(labels(f"{above}/real", f"{above}/fake").values()) == {REAL, AI}
    found = labels(f"{above}/train/real", f"{above}/train/fake")
    assert set(found.values()) == {("train", *REAL), ("train", *AI)}


def test_siblings_are_so_across_splits() -> None:
    assert labels("train/0_real", "test/1_fake") == {
        "train/0_real": ("train", *REAL),
        "test/1_fake": ("test", *AI),
    }


def test_siblings_of_a_folder_for_real_pictures_are_generators() -> None:
    assert labels("real", "sdxl", "fake", "dalle3/deep", "") == {
        "real": REAL,
        "sdxl": (1, "sdxl"),
        "fake": AI,
        "dalle3/deep": (1, "dalle3"),
        "": NOTHING,
    }
    assert labels("train/real", "train/sdxl")["train/sdxl"] == ("train", 1, "sdxl")


@pytest.mark.parametrize(
    "sibling", ["photo", "unknown", "real_vs_fake", "unlabeled", "Unlabelled", "thumbnails", "nature"]
)
def test_siblings_that_may_be_real_too_have_no_label(sibling: str) -> None:
    assert labels("real", "sdxl", sibling)[sibling] == NOTHING


def test_what_stands_beside_a_pair_inside_a_folder_has_no_label() -> None:
    assert labels("cat/real", "cat/fake", "cat/masks", "faces/real", "faces/dog") == {
        "cat/real": REAL,
        "cat/fake": (1, "cat"),
        "cat/masks": NOTHING,
        "faces/real": REAL,
        "faces/dog": NOTHING,
    }


@pytest.mark.parametrize(
    "folders",
    [
        ("photo", "drawing"),
        ("sdxl", "holiday"),
        ("fake",),
        ("airplane/real",),
        ("",),
        ("Nature", "Family", "Paris"),
        ("humans", "horses"),
    ],
)
def test_without_a_pair_folders_mean_nothing(folders: tuple[str, ...]) -> None:
    assert set(labels(*folders).values()) == {NOTHING}


def test_a_word_alone_counts_where_pairs_are_elsewhere() -> None:
    found = labels("ADM/nature", "ADM/ai", "VQDM/ai", "SD/nature", "people/human")
    assert found["VQDM/ai"] == (1, "VQDM")
    assert found["SD/nature"] == REAL and found["people/human"] == NOTHING


def test_pictures_directly_in_a_split_stay_unlabelled() -> None:
    inside = ("train/images", "valid/images", "test/Img Samples/faces")
    assert labels(*inside) == {name: (name[:5].rstrip("/"), *NOTHING) for name in inside}
    assert labels("train", "test") == {"train": ("train", *NOTHING), "test": ("test", *NOTHING)}
    assert labels("train/real", "train/fake", "test")["test"] == ("test", *NOTHING)


@pytest.mark.parametrize(
    ("path", "others", "stating"),
    [
        ("real/fake", (), "fake=ai"),
        ("fake/nature/x", (), "fake=ai"),
        ("train/0_real/1_fake", (), "1_fake=ai"),
        ("x/ai/human", (), "ai=ai"),
        ("deepfake/0_real", ("biggan/0_real", "biggan/1_fake"), "0_real=real,1_fake=ai"),
        ("fake/real", ("real", "fake/fake"), "fake=ai,real=real"),
        ("real/0_real", ("real/1_fake",), "0_real=real,1_fake=ai"),
    ],
)
def test_a_path_with_both_words_is_refused_and_shown(path: str, others: tuple[str, ...], stating: str) -> None:
    message = (
        rf"data: '(real/1_fake|{path})/1.jpg' has a word for real .* and one for AI .* such as --labels '{stating}'"
    )
    with pytest.raises(ManifestError, match=message):
        labels(path, *others)


@pytest.mark.parametrize(
    ("path", "stating"), [("sdxl/nature", "real=real,sdxl=ai"), ("biggan/0_real", "0_real=real,real=real")]
)
def test_a_word_for_real_pictures_below_a_generator_is_refused(path: str, stating: str) -> None:
    generator, word = path.split("/")
    with pytest.raises(ManifestError, match=rf"{path}/1\.jpg' has a word for real pictures \('{word}'\)") as caught:
        labels("real", path)
    assert f"in '{generator}', which stands beside a folder for real" in str(caught.value)
    assert "one for AI" not in str(caught.value) and f"--labels '{stating}'" in str(caught.value)


def test_the_name_above_a_pair_is_its_generator_whatever_it_means() -> None:
    places = ("train", *(f"test/{name}" for name in ("biggan", "deepfake", "whichfaceisreal")))
    found = labels(*(f"{place}/{word}" for place in places for word in ("0_real", "1_fake")))
    assert [label[1:] for label in found.values()] == [
        *(REAL, AI),
        *(pair for name in ("biggan", "deepfake", "whichfaceisreal") for pair in (REAL, (1, name))),
    ]
    assert set(labels("fake/0_real", "fake/1_fake", "human/real", "human/ai").values()) == {REAL, AI}
    assert labels("real", "sdxl/nature", "sdxl/ai")["sdxl/ai"] == (1, "sdxl")


@pytest.mark.parametrize("above", ["", "GenImage/"])
def test_a_generator_is_called_the_same_when_another_joins_it(above: str) -> None:
    trees = [f"{above}{name}/train" for name in ("ADM/imagenet_ai_0508_adm", "Midjourney/imagenet_midjourney")]
    one, both = (
        labels(*(f"{tree}/{word}" for tree in some for word in ("ai", "nature"))) for some in (trees[:1], trees)
    )
    assert one.items() <= both.items()
    assert one[f"{trees[0]}/ai"] == ("train", 1, "ADM") and both[f"{trees[1]}/ai"] == ("train", 1, "Midjourney")


@pytest.mark.parametrize(
    ("folders", "stating"),
    [
        (("train/sdxl", "test/midjourney"), "'midjourney=ai,sdxl=ai'"),
        (("train/fake", "test/x/fake"), "'fake=ai'"),
        (("train/0", "train/1"), "'0=real,1=ai'"),
        (("train/0",), "'0=ai'"),
        (("train/photo", "train/sdxl"), "'photo=real,sdxl=ai'"),
        (("train/a", "train/b", "train/c", "train/d"), r"'\*=ai'"),
        (("train/a=b,c", "train"), """'"a=b,c"=ai'"""),
        (("train2017/sdxl", "val2017"), "'sdxl=ai'"),
        (("data/train/sdxl", "data/test/dalle"), "'dalle=ai,sdxl=ai'"),
        (("train/nature", "train/sdxl"), "'nature=real,sdxl=ai'"),
        (("train/airplane/real",), "'real=real'"),
        (("train/sdxl", "train/images"), "'sdxl=ai'"),
        (("train/images/sdxl", "test/images"), "'sdxl=ai'"),
    ],
)
def test_split_folders_without_real_classes_are_refused_with_what_to_do(folders: tuple[str, ...], stating: str) -> None:
    with pytest.raises(ManifestError, match=rf"found '{folders[0]}/1\.jpg'.*--labels {stating}, or --labels none"):
        labels(*folders)
    found = labels(*folders, stated="none")
    assert {label[1:] for label in found.values()} == {NOTHING} and found[folders[0]][0] == "train"


def test_what_is_stated_is_all_that_counts() -> None:
    folders = ("0_real", "midjourney", "dalle3", "fake", "")
    assert labels(*folders, stated="0_real=real,MidJourney=ai") == {
        "0_real": REAL,
        "midjourney": (1, "midjourney"),
        "dalle3": NOTHING,
        "fake": NOTHING,
        "": NOTHING,
    }
    assert labels(*folders, stated="0_real=real,*=ai") == dict.fromkeys(folders, AI) | {"0_real": REAL}
    assert labels("train/ai/human", "train/nature/human", stated="ai=ai,nature=real") == {
        "train/ai/human": ("train", *AI),
        "train/nature/human": ("train", *REAL),
    }
    assert labels("train/airplane/0_real", "train/airplane/1_fake", stated="0_real=real,1_fake=ai") == {
        "train/airplane/0_real": ("train", *REAL),
        "train/airplane/1_fake": ("train", *AI),
    }


def test_numbers_may_be_stated_either_way() -> None:
    assert labels("train/0", "train/1", stated="1=real,0=ai") == {
        "train/0": ("train", *AI),
        "train/1": ("train", *REAL),
    }
    assert labels("0", "1", stated="0=real,1=ai") == {"0": REAL, "1": AI}


def test_a_folder_of_only_ai_or_real_pictures_is_stated_as_a_whole() -> None:
    assert set(labels("", "sdxl", "x/y", stated="*=ai").values()) == {AI}
    assert set(labels("", "sdxl", stated="*=real").values()) == {REAL}
    assert labels("train/sdxl", "test", stated="*=ai") == {"train/sdxl": ("train", *AI), "test": ("test", *AI)}
    assert set(labels("real", "fake", stated="none").values()) == {NOTHING}


@pytest.mark.parametrize("more", ["", ",real=real"])
def test_a_statement_about_what_is_nowhere_is_refused(more: str) -> None:
    there = "what 'midjuorney' means, found folders 'midjourney', 'real'; did you mean 'midjourney'?"
    with pytest.raises(ManifestError, match=re.escape(there)):
        labels("real", "midjourney", stated=f"midjuorney=ai{more}")
    remembered = Reading(labels="midjuorney=ai,real=real")
    assert labels("real", "midjourney", reading=remembered) == {"real": REAL, "midjourney": NOTHING}
    assert labels("real", "midjourney", reading=remembered, stated=remembered.labels)["real"] == REAL


def test_a_split_is_no_class() -> None:
    with pytest.raises(ManifestError, match=r"'train' means, which is the split of 'train/real/1.jpg': state what"):
        labels("train/real", "train/fake", "test/fake", stated="train=ai")
    remembered = Reading(labels="train=ai")
    assert labels("train/x", reading=remembered) == {"train/x": ("train", 1, "train")}
    assert labels("train", "cars", stated="train=ai,cars=ai")["train"] == (1, "train")


def test_a_folder_with_a_comma_is_stated_in_quotes() -> None:
    found = labels("a=b,c", "A, B", 'say "x"', stated='"a=b,c"=real, "a, b"=ai,say "x"=ai')
    assert found == {"a=b,c": REAL, "A, B": (1, "A, B"), 'say "x"': (1, 'say "x"')}


def test_a_statement_that_says_two_things_of_a_path_is_refused() -> None:
    with pytest.raises(
        ManifestError, match=r"--labels says that 'a/b/1\.jpg' is real and that it is AI \('a' and 'b'\)"
    ):
        labels("a/b", stated="a=real,b=ai")


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train/0_real", "train/1_fake"), [("train", 1, "0_real"), ("train", 1, "1_fake")]),
        (("train/ADM/nature", "train/ADM/ai"), [("train", 1, "ADM"), ("train", 1, "ADM")]),
        (("train/sdxl",), [("train", 1, "sdxl")]),
        (("nature", "ai"), [REAL, AI]),
        (("photo", "ai"), [NOTHING, NOTHING]),
    ],
)
def test_by_rules_1_folders_mean_what_they_meant(folders: tuple[str, ...], expected: list[tuple[object, ...]]) -> None:
    assert list(labels(*folders, reading=EARLY).values()) == expected


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (
            ("train/0_real", "train/1_fake"),
            r"2 would have others today, the first 'train/0_real/1\.jpg': --labels auto",
        ),
        (("train/sdxl",), "today they would be refused: --labels states"),
        (("real", "sdxl"), None),
    ],
)
def test_by_rules_1_it_is_told_what_would_be_read_otherwise_today(folders: tuple[str, ...], told: str | None) -> None:
    _, notes = label_paths("data", [f"{folder}/1.jpg" for folder in folders], EARLY)
    assert [bool(re.search(told or "", note)) for note in notes] == [True] * (told is not None)


def test_a_statement_ends_rules_1_for_labels() -> None:
    assert labels("train/0_real", "train/1_fake", reading=EARLY, stated="auto") == labels(
        "train/0_real", "train/1_fake"
    )
