import pickle
import socket
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.hub import name_of
from featcache.dataset.sample import ImageFile
from featcache.errors import ManifestError

CT2 = "Rajarshi-Roy-research/Defactify_Image_Dataset"


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def dataset(images: list[object], **columns: object) -> datasets.Dataset:
    """Make a data set with an Image column; bytes stay as they are."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = [{"bytes": x, "path": None} if isinstance(x, bytes) else x for x in images]
    table = pa.table({"Image": pa.array(cells, kind)} | columns)
    return datasets.Dataset(table).cast_column("Image", datasets.Image())


def save(data: datasets.Dataset | datasets.DatasetDict, path: Path) -> str:
    data.save_to_disk(path)
    return f"hf:{path}"


def test_a_saved_data_set_gives_its_original_bytes_and_splits(tmp_path: Path) -> None:
    parts = {"train": [b"a", b"b"], "validation": [b"c"], "extra": [b"d"]}
    data = datasets.DatasetDict(
        {
            key: dataset(images, Caption=pa.array([f"{key} {i}" for i in range(len(images))]))
            for key, images in parts.items()
        }
    )
    origin = save(data, tmp_path / "birds")
    manifest = Manifest.from_source(origin)
    assert (manifest.name, manifest.origin) == ("birds", origin)
    assert [s.image.read_bytes() for s in manifest.samples if s.image] == [b"a", b"b", b"c", b"d"]
    assert [s.split for s in manifest.samples] == ["train", "train", "valid", None]
    assert [s.sample_id for s in manifest.samples] == ["train-0", "train-1", "validation-0", "extra-0"]
    assert [s.caption for s in manifest.samples] == ["train 0", "train 1", "validation 0", "extra 0"]
    assert manifest.samples[2].where == f"{origin} validation[0]"
    assert manifest.samples[1].image is not None
    assert manifest.samples[1].image.name == f"{origin} train[1]"


def test_a_single_split_and_its_own_columns_are_honoured(tmp_path: Path) -> None:
    data = dataset([b"a", None], ID=pa.array(["x", "y"]), split=pa.array(["dev", ""]), text=pa.array(["", "b"]))
    samples = Manifest.from_source(save(data, tmp_path / "one")).samples
    assert [(s.sample_id, s.split, s.caption, s.image is None) for s in samples] == [
        ("x", "valid", None, False),
        ("y", None, "b", True),
    ]


@pytest.mark.parametrize(
    ("keys", "splits"), [(["train"], [None]), (["test"], ["test"]), (["train", "x"], ["train", None])]
)
def test_a_train_split_alone_is_unsplit_data(
    keys: list[str], splits: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = datasets.DatasetDict({key: dataset([b"a"], caption=pa.array(["a"])) for key in keys})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    samples = Manifest.from_source("hf:org/name").samples
    assert [s.split for s in samples] == splits
    assert [s.sample_id for s in samples] == [f"{key}-0" for key in keys]


def test_a_split_column_of_a_train_split_alone_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"caption": pa.array(["a", "b"]), "split": pa.array(["train", "test"])}
    data = datasets.DatasetDict(train=dataset([b"a", b"b"], **columns))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    assert [s.split for s in Manifest.from_source("hf:org/name").samples] == ["train", "test"]


def test_a_selection_keeps_its_own_rows(tmp_path: Path) -> None:
    data = dataset([b"a", b"b", b"c"], caption=pa.array(["a", "b", "c"])).select([2, 0])
    samples = Manifest.from_source(save(data, tmp_path / "one")).samples
    assert [(s.caption, s.image.read_bytes()) for s in samples if s.image] == [("c", b"c"), ("a", b"a")]


def test_the_names_of_class_labels_are_used_in_their_order(tmp_path: Path) -> None:
    data = dataset([b"a", b"b", b"c"], label_a=pa.array([0, 1, -1]), label_b=pa.array([1, 2, -1]))
    data = data.cast_column("label_a", datasets.ClassLabel(names=["human", "ai"]))
    data = data.cast_column("label_b", datasets.ClassLabel(names=["zeta", "Real", "alpha"]))
    manifest = Manifest.from_source(save(data, tmp_path / "one"))
    assert manifest.generators == ("zeta", "alpha")
    assert [(s.label_a, s.label_b) for s in manifest.samples] == [(0, "real"), (1, "alpha"), (-1, None)]


def test_a_folder_of_parquet_files_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "org" / "birds"
    folder.mkdir(parents=True)
    for key in ("train", "test"):
        data = dataset([key.encode()], caption=pa.array([key]))
        data.to_parquet(folder / f"{key}-00000-of-00001.parquet")
    samples = Manifest.from_source(f"hf:{folder}").samples
    assert [(s.split, s.image.read_bytes()) for s in samples if s.image] == [
        ("train", b"train"),
        ("test", b"test"),
    ]


def test_pictures_named_by_path_are_files_or_orphans(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    paths = [{"bytes": None, "path": str(tmp_path / name)} for name in ("a.jpg", "b.jpg")]
    (tmp_path / "one").mkdir()
    pq.write_table(dataset(paths).data.table, tmp_path / "one" / "train.parquet")
    origin = f"hf:{tmp_path / 'one'}"
    with pytest.raises(ManifestError, match=r"\[1\], column 'Image': there is no file .*--on-orphan skip"):
        Manifest.from_source(origin)
    manifest = Manifest.from_source(origin, on_orphan="skip")
    assert [s.image for s in manifest.samples] == [ImageFile(str(tmp_path / "a.jpg"))]


def test_a_manifest_of_a_data_set_survives_pickling(tmp_path: Path) -> None:
    manifest = Manifest.from_source(save(dataset([b"a", b"b"]), tmp_path / "one"))
    again = pickle.loads(pickle.dumps(manifest))
    assert [s.image.read_bytes() for s in again.samples] == [b"a", b"b"]


@pytest.mark.parametrize("as_text", [False, True])
def test_the_competition_data_set_has_names_for_its_numbers(as_text: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, *, revision: str | None) -> datasets.DatasetDict:
        asked.append((name, revision))
        numbers = pa.array([str(i) for i in range(6)]) if as_text else pa.array(range(6))
        return datasets.DatasetDict(train=dataset([b"x"] * 6, Label_A=pa.array([0] + [1] * 5), Label_B=numbers))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    manifest = Manifest.from_source(f"hf:{CT2}@787334f")
    assert asked == [(CT2, "787334f")]
    assert manifest.name == "Rajarshi-Roy-research--Defactify_Image_Dataset"
    assert manifest.generators == ("sd21", "sdxl", "sd3", "dalle3", "midjourney")
    assert [s.label_b for s in manifest.samples] == ["real", *manifest.generators]


def test_a_relative_path_of_a_repository_is_an_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.DatasetDict(train=datasets.Dataset.from_dict({"image": ["a.jpg"], "caption": ["a"]}))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    with pytest.raises(ManifestError, match=r"hf:org/name train\[0\], column 'image': 'a\.jpg' is a relative path"):
        Manifest.from_source("hf:org/name")


def test_a_column_may_be_missing_in_one_split(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": {"caption": ["a"], "label_a": [1]}, "test": {"caption": ["b"]}}
    data = datasets.DatasetDict({key: datasets.Dataset.from_dict(part) for key, part in parts.items()})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    samples = Manifest.from_source("hf:org/name").samples
    assert [(s.split, s.caption, s.label_a) for s in samples] == [("train", "a", 1), ("test", "b", -1)]


def test_what_cannot_be_loaded_is_refused_in_one_line() -> None:
    with pytest.raises(ManifestError, match=r"^hf:nobody/nothing@main cannot be loaded: ") as caught:
        Manifest.from_source("hf:nobody/nothing@main")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("mark", ["dataset_dict.json", "dataset_info.json"])
def test_a_broken_saved_data_set_is_refused(mark: str, tmp_path: Path) -> None:
    (tmp_path / mark).write_text("{")
    with pytest.raises(ManifestError, match="cannot be loaded"):
        Manifest.from_source(f"hf:{tmp_path}")


def test_nested_captions_are_refused(tmp_path: Path) -> None:
    origin = save(dataset([b"a"], caption=pa.array([[["a", "b"]]])), tmp_path / "one")
    with pytest.raises(ManifestError, match=r"\[0\], column 'caption': expected text"):
        Manifest.from_source(origin)


def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path: Path) -> None:
    origin = save(dataset([b"a"]), tmp_path / "birds@2")
    assert name_of(origin) == "birds@2"
    assert Manifest.from_source(origin).name == "birds-2"


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ManifestError, match=r"pip install 'featcache\[hf\]'"):
        Manifest.from_source("hf:org/name")


def test_captions_in_a_list_are_samples_of_one_group(tmp_path: Path) -> None:
    origin = save(dataset([b"a"], caption=pa.array([["x", "y"]])), tmp_path / "one")
    samples = Manifest.from_source(origin).samples
    captions = [(s.caption, s.sample_id, s.group) for s in samples]
    name = samples[0].sample_id.removesuffix("#0")
    assert captions == [("x", f"{name}#0", name), ("y", f"{name}#1", name)]


def test_columns_of_the_hub_are_named_and_the_unread_ones_told(tmp_path: Path) -> None:
    origin = save(dataset([b"a"], words=pa.array(["x"]), label=pa.array([1])), tmp_path / "one")
    manifest = Manifest.from_source(origin, columns="caption=words")
    assert manifest.samples[0].caption == "x"
    assert manifest.notes == ("'label' is not read: --column label_a=label if it is the label real or AI",)


def test_names_of_classes_are_words_too(tmp_path: Path) -> None:
    features = {
        "caption": datasets.Value("string"),
        "label_a": datasets.ClassLabel(names=["fake", "real"]),
        "generator": datasets.ClassLabel(names=["nature", "ai", "sdxl"]),
    }
    columns = {"caption": ["a", "b", "c"], "label_a": [1, 0, 0], "generator": [0, 1, 2]}
    origin = save(datasets.Dataset.from_dict(columns, features=datasets.Features(features)), tmp_path / "one")
    manifest = Manifest.from_source(origin)
    assert [(s.label_a, s.label_b) for s in manifest.samples] == [(0, "real"), (1, None), (1, "sdxl")]
    assert manifest.generators == ("sdxl",)
    stated = Manifest.from_source(origin, labels="sdxl=real,ai=real,fake=real,nature=ai,real=ai")
    assert [(s.label_a, s.label_b) for s in stated.samples] == [(1, None), (0, "real"), (0, "real")]


def test_splits_of_other_names_mean_what_is_stated(tmp_path: Path) -> None:
    origin = save(datasets.DatasetDict({"train": dataset([b"a"]), "extra": dataset([b"b"])}), tmp_path / "d")
    assert [s.split for s in Manifest.from_source(origin).samples] == ["train", None]
    assert [s.split for s in Manifest.from_source(origin, splits="extra=test").samples] == ["train", "test"]
    with pytest.raises(ManifestError, match="says what 'more' means, found splits 'train'"):
        Manifest.from_source(origin, splits="more=test")


def test_where_the_hub_does_not_answer_it_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for module, name in ((constants, "ENDPOINT"), (datasets.config, "HF_ENDPOINT")):
            monkeypatch.setattr(module, name, endpoint)
        for module in (constants, datasets.config):
            monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("featcache.files.hub._WAITS", (0.0,))
        monkeypatch.setattr("featcache.files.hub.getproxies", dict)
        with pytest.raises(ManifestError, match=r"^hf:org/name cannot be loaded: nothing answers at 127\.0\.0\.1:"):
            Manifest.from_source("hf:org/name")
