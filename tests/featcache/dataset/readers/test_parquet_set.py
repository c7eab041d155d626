import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading
from featcache.errors import ManifestError


def write(path: Path, rows: list[dict[str, object]] | None = None, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows) if rows is not None else pa.table(columns), path)  # type: ignore[arg-type]
    return path


def write_hub(folder: Path) -> Path:
    """A repository of the hub as `git clone` leaves it."""
    for name, n in (("train-00000-of-00002", 2), ("train-00001-of-00002", 1), ("test-00000-of-00001", 1)):
        images = [{"bytes": f"{name}-{i}".encode(), "path": None} for i in range(n)]
        write(folder / f"data/{name}.parquet", image=images, caption=[f"{name} {i}" for i in range(n)], label=[1] * n)
    (folder / "README.md").write_text("about")
    (folder / ".gitattributes").write_text("*.parquet lfs")
    return folder


def told(manifest: Manifest) -> list[tuple[str, str | None, str | None]]:
    return [(s.sample_id, s.caption, s.split) for s in manifest.samples]


def test_a_folder_of_parquet_files_is_one_table_whose_splits_are_words_of_their_names(tmp_path: Path) -> None:
    manifest = Manifest.from_source(write_hub(tmp_path / "birds"))
    assert told(manifest) == [
        ("data/test-00000-of-00001/row-1", "test-00000-of-00001 0", "test"),
        ("data/train-00000-of-00002/row-1", "train-00000-of-00002 0", "train"),
        ("data/train-00000-of-00002/row-2", "train-00000-of-00002 1", "train"),
        ("data/train-00001-of-00002/row-1", "train-00001-of-00002 0", "train"),
    ]
    pictures = [s.image.read_bytes() for s in manifest.samples if s.image]
    assert pictures == [b"test-00000-of-00001-0", b"train-00000-of-00002-0", b"train-00000-of-00002-1",
                        b"train-00001-of-00002-0"]  # fmt: skip
    assert (manifest.name, manifest.origin) == ("birds", str(tmp_path / "birds"))
    assert manifest.samples[2].where == "data/train-00000-of-00002.parquet, row 2"
    assert manifest.notes[0].startswith("'label' is not read: --column label_a=label if it is the label")


def test_a_pattern_stands_for_the_files_that_it_matches(tmp_path: Path) -> None:
    birds = write_hub(tmp_path / "birds")
    for pattern in ("data/*.parquet", "data/t*.parquet", "*/*.parquet", "**/*.parquet"):
        manifest = Manifest.from_source(birds / pattern)
        assert [s.caption for s in manifest.samples] == [s.caption for s in Manifest.from_source(birds).samples]
        assert {s.split for s in manifest.samples} == {"train", "test"}
        assert (manifest.name, manifest.origin) == ("birds", str(birds / pattern))
    manifest = Manifest.from_source(str(birds / "data/train-0000[1-9]*.parquet"))
    assert told(manifest) == [("train-00001-of-00002/row-1", "train-00001-of-00002 0", None)]


def test_train_alone_is_no_split_but_test_alone_is(tmp_path: Path) -> None:
    birds = write_hub(tmp_path / "birds")
    assert {s.split for s in Manifest.from_source(birds / "data/train-*.parquet").samples} == {None}
    assert {s.split for s in Manifest.from_source(birds / "data/test-*.parquet").samples} == {"test"}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00003-2f9d0a", "train"),
        ("my_val.v2", "valid"),
        ("VALIDATION", "valid"),
        ("dev0", "valid"),
        ("default/testing/0000", "test"),
        ("default/train/test-0000", "test"),
        ("train_test", None),
        ("trainer", None),
        ("latest", None),
        ("0000", None),
        ("test/other/0000", "test"),
    ],
)
def test_a_split_is_a_word_of_the_name_or_a_folder(name: str, split: str | None, tmp_path: Path) -> None:
    write(tmp_path / f"{name}.parquet", caption=["a"])
    write(tmp_path / "z" / "test.parquet", caption=["b"])
    found = {s.caption: s.split for s in Manifest.from_source(tmp_path).samples}
    assert found == {"a": split, "b": "test"}


def test_a_split_column_goes_before_the_names(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", caption=["a"], split=["val"])
    write(tmp_path / "test.parquet", caption=["b"])
    assert {s.caption: s.split for s in Manifest.from_source(tmp_path).samples} == {"a": "valid", "b": None}


def test_a_column_that_a_file_lacks_is_empty_there(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", caption=["a"], label_a=[1])
    write(tmp_path / "b.parquet", group=["g"], caption=["b"])
    samples = Manifest.from_source(tmp_path).samples
    assert [(s.caption, s.label_a, s.group) for s in samples] == [("a", 1, None), ("b", -1, "g")]


def test_paths_are_relative_to_the_folder_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("1.bin", "in/1.bin", "2.bin"):
        (tmp_path / name).write_bytes(name.encode())
    write(tmp_path / "a.parquet", image=["1.bin"])
    write(tmp_path / "in" / "b.parquet", image=["1.bin", str(tmp_path / "2.bin")])
    samples = Manifest.from_source(tmp_path).samples
    assert [s.image.read_bytes() for s in samples if s.image] == [b"1.bin", b"in/1.bin", b"2.bin"]
    assert [s.sample_id for s in samples] == ["1.bin", "in/1.bin", str(tmp_path / "2.bin")]


def test_rows_of_ids_do_not_depend_on_the_files_beside(tmp_path: Path) -> None:
    birds = write_hub(tmp_path / "birds")
    before = [sample_id for sample_id, _, _ in told(Manifest.from_source(birds))]
    write(birds / "data/train-00000-of-00000.parquet", image=[b"x"], caption=["new"])
    after = [sample_id for sample_id, _, _ in told(Manifest.from_source(birds))]
    assert set(before) < set(after) and len(after) == len(before) + 1


def test_one_file_is_read_as_ever(tmp_path: Path) -> None:
    path = write(tmp_path / "birds" / "train-00000-of-00001.parquet", caption=["a"])
    manifest = Manifest.from_source(path)
    assert told(manifest) == [("row-1", "a", None)] and manifest.samples[0].where == f"{path.name}, row 1"


def test_a_pattern_of_nothing_and_one_of_other_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", caption=["a"])
    with pytest.raises(ManifestError, match="expected at least one file like this, found none"):
        Manifest.from_source(tmp_path / "b*.parquet")
    with pytest.raises(ManifestError, match="expected at least one file like this, found none"):
        Manifest.from_source(tmp_path / "*.tar")
    with pytest.raises(ManifestError, match=r"expected a file, or a pattern of \.parquet or \.tar files"):
        Manifest.from_source(tmp_path / "a?.csv")
    with pytest.raises(ManifestError, match=f"found neither; of pictures name the folder, '{tmp_path}'$"):
        Manifest.from_source(tmp_path / "*.jpg")


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    write(tmp_path / "a[1].parquet", caption=["a"])
    assert told(Manifest.from_source(tmp_path / "a[1].parquet")) == [("row-1", "a", None)]


def test_a_broken_file_among_others_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", caption=["a"])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ManifestError, match=r"b\.parquet cannot be read as Parquet"):
        Manifest.from_source(tmp_path)


def test_a_bad_cell_is_told_by_file_and_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", caption=["a", "b"], label_a=["1", "0"])
    write(tmp_path / "b.parquet", caption=["a", "b"], label_a=["1", "maybe"])
    with pytest.raises(ManifestError, match=r"^b\.parquet, row 2, column 'label_a': unknown label 'maybe'"):
        Manifest.from_source(tmp_path)


def test_pictures_beside_parquet_files_are_the_data(tmp_path: Path) -> None:
    write(tmp_path / "00000.parquet", caption=["a"])
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert told(Manifest.from_source(tmp_path)) == [("a.jpg", None, None)]


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", caption=["a"])
    write(tmp_path / ".b.parquet", caption=["b"])
    write(tmp_path / ".cache" / "c.parquet", caption=["c"])
    assert [s.caption for s in Manifest.from_source(tmp_path).samples] == ["a"]


def test_what_img2dataset_writes_as_parquet_has_its_pictures(tmp_path: Path) -> None:
    for shard in ("00000", "00001"):
        write(
            tmp_path / "laion" / f"{shard}.parquet",
            key=[f"{shard}0000", f"{shard}0001"], url=["http://a", "http://b"], caption=["a cat", "a dog"],
            status=["failed_to_download", "success"], jpg=pa.array([None, b"pixels"], pa.binary()), width=[5, None],
        )  # fmt: skip
        (tmp_path / "laion" / f"{shard}_stats.json").write_text('{"count": 2}')
    manifest = Manifest.from_source(tmp_path / "laion")
    pictures = [(s.sample_id, s.image.read_bytes() if s.image else None, s.caption) for s in manifest.samples]
    assert pictures == [("000000001", b"pixels", "a dog"), ("000010001", b"pixels", "a dog")]
    assert manifest.samples[1].where == "00001.parquet, row 2"
    assert manifest.notes == (
        "2 rows whose status is not success have no picture: left out",
        "00000.parquet (and 1 more file): not read: 'url', 'status', 'width'",
    )
    known = Manifest.from_source(tmp_path / "laion", earlier=lambda _: Reading(rules=2))
    rows = [(s.sample_id, s.image is None, s.caption) for s in known.samples]
    assert rows[:3] == [("00000/row-1", True, "a cat"), ("00000/row-2", False, "a dog"), ("00001/row-1", True, "a cat")]
    assert known.notes[0] == "'key' is not read: --column sample_id=key if it is the sample's id"


def test_text_in_a_column_called_jpg_is_no_picture(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", caption=["a"], jpg=["x.jpg"])
    assert Manifest.from_source(tmp_path).samples[0].image is None


def test_what_img2dataset_writes_as_files_is_a_folder_with_captions(tmp_path: Path) -> None:
    folder = tmp_path / "laion"
    for key in ("000000000", "000000001"):
        picture = folder / "00000" / f"{key}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(key.encode())
        picture.with_suffix(".txt").write_text(f"caption of {key}")
        picture.with_suffix(".json").write_text(f'{{"key": "{key}", "caption": "x", "url": "http://a"}}')
    write(folder / "00000.parquet", key=["000000000", "000000001"], url=["http://a"] * 2, caption=["a", "b"])
    (folder / "00000_stats.json").write_text('{"count": 2}')
    manifest = Manifest.from_source(folder)
    samples = [(s.image.read_bytes() if s.image else None, s.caption, s.label_a, s.split) for s in manifest.samples]
    assert samples == [(k.encode(), f"caption of {k}", -1, None) for k in ("000000000", "000000001")]
    assert manifest.orphans == ()


def test_a_set_takes_columns_and_a_root(tmp_path: Path) -> None:
    write(tmp_path / "t" / "train.parquet", file=["/old/disk/a.bin"], words=["a"])
    write(tmp_path / "t" / "test.parquet", file=["/old/disk/b.bin"], words=["b"])
    for name in ("a.bin", "b.bin"):
        (tmp_path / "pictures" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(name.encode())
    columns = "image=file,caption=words"
    manifest = Manifest.from_source(tmp_path / "t", columns=columns, root=tmp_path / "pictures")
    assert [(s.image.read_bytes(), s.caption, s.split) for s in manifest.samples if s.image] == [
        (b"b.bin", "b", "test"),
        (b"a.bin", "a", "train"),
    ]


def test_links_to_files_elsewhere_count_as_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    birds = write_hub(tmp_path / "birds")
    (tmp_path / "snapshot").mkdir()
    for file in (birds / "data").iterdir():
        shutil.move(file, tmp_path / f"blob-{file.stem}")
        (tmp_path / "snapshot" / file.name).symlink_to(tmp_path / f"blob-{file.stem}")
    assert {s.split for s in Manifest.from_source(tmp_path / "snapshot").samples} == {"train", "test"}
