"""Laws of pictures of which nothing else is known: vectors as their producers made them, and a reason for each lack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featcache.extraction.pictures
from featcache import ExtractedPictures, Manifest, Progress, Selection, extract_pictures, read_pictures
from featcache.dataset.sample import ImageFile
from featcache.errors import FeatcacheError, FingerprintMismatch, ManifestError, ModelError
from featcache.extraction.run import extract
from featcache.upkeep.repair import repair

from factories import FakeSpec, fake_pixels, fake_vector, make_cache, png, write_vision

Producers = list[tuple[Selection, dict[str, Any]]]
Wanted = Callable[..., Producers]


def producer(spec: FakeSpec, view: str = "clean") -> tuple[Selection, dict[str, Any]]:
    fingerprint = spec.fingerprint
    widths = (spec.width,) * len(spec.outputs)
    return Selection(spec.modality, fingerprint.digest, view, spec.outputs, widths), fingerprint.to_document()


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Wanted:
    """Producers whose encoders are found by their documents, as real ones are."""
    known: dict[str, FakeSpec] = {}

    def build(fingerprint: Any, outputs: Sequence[str], model: str | None = None) -> FakeSpec:
        return known[model or fingerprint.digest]

    monkeypatch.setattr(featcache.extraction.pictures, "build_spec", build)

    def choose(*specs: FakeSpec, view: str = "clean", **moved: FakeSpec) -> Producers:
        known.update({spec.fingerprint.digest: spec for spec in specs} | moved)
        return [producer(spec, "clean" if spec.modality == "text" else view) for spec in specs]

    return choose


def write_folder(folder: Path, **pictures: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        (folder / f"{name}.png").write_bytes(data)
    return folder


def rows(found: ExtractedPictures) -> dict[str, int]:
    return {found.sample_id(row): row for row in range(len(found))}


def vectors(found: ExtractedPictures, modality: str = "image") -> np.ndarray:
    (selection,) = [found.store.select(modality)]
    return found.store.arrays(selections={modality: selection}).features[modality]


def test_vectors_are_those_that_an_extraction_stores(tmp_path: Path, wanted: Wanted) -> None:
    data = write_folder(tmp_path / "photos", a=png(1), b=png(2))
    seen: list[Progress] = []
    found = extract_pictures(data, tmp_path / "c", wanted(FakeSpec("image")), device="cpu", progress=seen.append)
    expected = [fake_vector(fake_pixels(png(n)), "pooled").astype(np.float16) for n in (1, 2)]
    np.testing.assert_array_equal(vectors(found), np.array(expected, np.float32))
    assert (found.faults, found.left_out, found.n_encoded, len(found)) == ({}, (), 2, 2)
    assert [Path(found.path(row)).name for row in range(2)] == ["a.png", "b.png"]
    assert {progress.stage for progress in seen} == {"scan", "image"}


def test_labels_splits_and_groups_are_not_read(tmp_path: Path, wanted: Wanted) -> None:
    for place in ("train/0_real", "train/1_fake", "val/real", "other"):
        write_folder(tmp_path / "folders" / place, x=png(len(place)))
    write_folder(tmp_path / "table", a=png(1), b=png(2))
    table = tmp_path / "table" / "odd.csv"
    table.write_text("image,label_a,label_b,generator,split,group\na.png,0,sdxl,real,nonsense,g\nb.png,7,,,,\n")
    for data, n in ((tmp_path / "folders", 4), (table, 2)):
        found = extract_pictures(data, tmp_path / "c", wanted(FakeSpec("image")), device="cpu")
        assert len(found) == n and not found.faults
        assert (found.store.samples.label_a == -1).all() and (found.store.samples.label_b == -1).all()


def test_tars_need_no_labels_either(tmp_path: Path, wanted: Wanted) -> None:
    import tarfile

    write_folder(tmp_path / "x", a=png(1))
    (tmp_path / "x" / "a.json").write_text(json.dumps({"label_a": 0, "generator": "sdxl"}))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.png", "a.json"):
            tar.add(tmp_path / "x" / name, name)
    found = extract_pictures(tmp_path / "x.tar", tmp_path / "c", wanted(FakeSpec("image")), device="cpu")
    assert not found.faults and found.path(0).endswith("x.tar a.png")


def test_every_sample_without_vectors_has_its_first_reason(
    tmp_path: Path, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "d", good=png(1), bad=b"no picture", mute=png(2), gone=png(3))
    read = ImageFile.read_bytes

    def refuse(image: ImageFile) -> bytes:
        if image.path.endswith("gone.png"):
            raise PermissionError(13, "not for you")
        return read(image)

    monkeypatch.setattr(ImageFile, "read_bytes", refuse)
    table = folder / "table.csv"
    names = {"good": "x", "bad": "", "mute": "", "gone": "x", "lost": "x"}
    lines = [f"{name}.png,{caption},{name}" for name, caption in names.items()] + [",only words,words"]
    table.write_text("image,caption,id\n" + "".join(f"{line}\n" for line in lines))
    found = extract_pictures(table, tmp_path / "c", wanted(FakeSpec("text"), FakeSpec("image")), device="cpu")
    told = {found.sample_id(row): fault for row, fault in found.faults.items()}
    assert {name: fault.stage for name, fault in told.items()} == {
        "bad": "decode", "mute": "data", "gone": "read", "words": "data",
    }  # fmt: skip
    assert "not a picture" in told["bad"].message and "not for you" in told["gone"].message
    assert (told["mute"].message, told["words"].message) == ("it has no caption", "it has no picture")
    (gap,) = found.left_out
    assert gap.path == str(folder / "lost.png") and "there is no file 'lost.png'" in gap.message
    assert list(found.faults) == sorted(found.faults)


def test_captions_that_no_producer_takes_are_not_read(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    (folder / "a.txt").write_bytes(b"\xff\xfe\xfd")
    (folder / "notes.txt").write_text("of no picture")
    found = extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("image")), device="cpu")
    assert (len(found), found.faults, found.left_out) == (1, {}, ())
    with pytest.raises(ManifestError, match="has no captions"):
        extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("text"), FakeSpec("image")), device="cpu")


def test_a_list_of_captions_is_one_line_for_who_looks_at_pictures(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    (folder / "t.jsonl").write_text(json.dumps({"image": "a.png", "caption": ["one", "two"]}) + "\n")
    for specs, ids in (([FakeSpec("image")], ["a.png"]), ([FakeSpec("text")], ["a.png#0", "a.png#1"])):
        found = extract_pictures(folder / "t.jsonl", tmp_path / "c", wanted(*specs), device="cpu")
        assert [found.sample_id(row) for row in range(len(found))] == ids and not found.faults


def test_what_a_scan_lost_is_brought_back_by_the_next_and_no_folder_is_too_empty_for_one(
    tmp_path: Path, wanted: Wanted
) -> None:
    folder, producers = write_folder(tmp_path / "d", a=png(1)), wanted(FakeSpec("image"))
    found = extract_pictures(folder, tmp_path / "c", producers, device="cpu")
    (shard,) = (tmp_path / "c" / "features").rglob("*.h5")
    shard.write_bytes(b"damaged")
    report = repair(tmp_path / "c")
    assert (report.commands, report.scanned) == ((), (found.store.dataset,))
    assert extract_pictures(folder, tmp_path / "c", producers, device="cpu").n_encoded == 1
    (folder / "a.png").unlink()
    for specs in ((FakeSpec("image"),), (FakeSpec("text"), FakeSpec("image"))):
        empty = extract_pictures(folder, tmp_path / "c", wanted(*specs), device="cpu")
        assert (len(empty), empty.faults, empty.left_out, empty.n_encoded) == (0, {}, (), 0)


def test_two_files_of_one_content_are_two_rows_and_one_forward(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1), b=png(2), c=png(1))
    found = extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("image")), device="cpu")
    X = vectors(found)
    assert (len(found), found.n_encoded) == (3, 2)
    np.testing.assert_array_equal(X[0], X[2])
    assert (X[0] != X[1]).any()


def test_only_what_is_new_is_encoded_again_also_under_another_path(tmp_path: Path, wanted: Wanted) -> None:
    producers = wanted(FakeSpec("image"))
    folder = write_folder(tmp_path / "d", a=png(1), b=png(2), bad=b"x")
    assert extract_pictures(folder, tmp_path / "c", producers, device="cpu").n_encoded == 2
    shutil.copytree(folder, tmp_path / "elsewhere" / "d")
    write_folder(tmp_path / "elsewhere" / "d", new=png(3))
    found = extract_pictures(tmp_path / "elsewhere" / "d", tmp_path / "c", producers, device="cpu")
    assert found.n_encoded == 1 and list(found.faults) == [rows(found)["bad.png"]]


def test_sources_of_one_name_do_not_take_each_others_place(tmp_path: Path, wanted: Wanted) -> None:
    producers = wanted(FakeSpec("image"))
    first = extract_pictures(write_folder(tmp_path / "x" / "photos", a=png(1)), tmp_path / "c", producers, device="cpu")
    second = extract_pictures(
        write_folder(tmp_path / "y" / "photos", b=png(2)), tmp_path / "c", producers, device="cpu"
    )
    assert (first.sample_id(0), second.sample_id(0)) == ("a.png", "b.png")
    assert len(first.store.cache.datasets) == 2


def test_pictures_are_encoded_in_the_view_that_is_wanted_alone(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    spec = FakeSpec("image")
    found = extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("text"), spec, view="hflip")[1:], device="cpu")
    assert found.store.views("image") == ("hflip",)
    from PIL import Image, ImageOps

    with Image.open(folder / "a.png") as picture:
        flipped = fake_vector(fake_pixels(ImageOps.mirror(picture.convert("RGB"))), "pooled").astype(np.float16)
    got = found.store.arrays(selections={"image": found.store.select("image", view="hflip")}).features["image"]
    np.testing.assert_array_equal(got[0], flipped.astype(np.float32))


@pytest.mark.parametrize("modality", ["text", "image"])
def test_data_without_any_of_a_content_are_refused_before_a_cache_is_made(
    tmp_path: Path, wanted: Wanted, modality: Any
) -> None:
    write_folder(tmp_path / "d", a=png(1))
    (tmp_path / "d" / "t.csv").write_text("image,caption\na.png,\n" if modality == "text" else "image,caption\n,x\n")
    what = "captions" if modality == "text" else "pictures"
    with pytest.raises(ManifestError, match=rf"has no {what}, expected some .*for {modality} encoder .*fake-w0"):
        extract_pictures(tmp_path / "d" / "t.csv", tmp_path / "c", wanted(FakeSpec(modality)), device="cpu")
    assert not (tmp_path / "c").exists()


def test_weights_that_are_not_the_producers_are_refused_by_the_field(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    producers = wanted(FakeSpec("image"), moved=FakeSpec("image", weights="w1"))
    with pytest.raises(
        FingerprintMismatch, match=r"features of model 'moved' .*model\.weights: 'w0' → 'w1'; name the expected model"
    ):
        extract_pictures(folder, tmp_path / "c", producers, models={"image": "moved"}, device="cpu")
    assert not (tmp_path / "c").exists()


def test_weights_that_are_gone_are_told_with_the_option_that_names_their_place(tmp_path: Path) -> None:
    from featcache.encoders.model_folder import resolve_model
    from featcache.encoders.vision import ImageSpec

    spec = ImageSpec(resolve_model(str(write_vision(tmp_path / "clip"))), ("pooled",))
    chosen = [
        (Selection("image", spec.fingerprint.digest, "clean", ("pooled",), (16,)), spec.fingerprint.to_document())
    ]
    folder = write_folder(tmp_path / "d", a=png(1))
    (tmp_path / "clip").rename(tmp_path / "moved")
    with pytest.raises(ModelError, match="--image-model"):
        extract_pictures(folder, tmp_path / "c", chosen, device="cpu")
    models = {"image": str(tmp_path / "moved")}
    assert not extract_pictures(folder, tmp_path / "c", chosen, models=models, device="cpu").faults


def test_a_document_of_another_producer_than_the_selection_is_refused(tmp_path: Path) -> None:
    (selection, _), (_, other) = producer(FakeSpec("image")), producer(FakeSpec("image", weights="w1"))
    with pytest.raises(FingerprintMismatch, match="the document beside them is of"):
        extract_pictures(tmp_path, tmp_path / "c", [(selection, other)])
    with pytest.raises(FeatcacheError, match="no producer is named"):
        extract_pictures(tmp_path, tmp_path / "c", [])


def test_where_all_pictures_are_bad_each_has_its_reason(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=b"x", b=b"y")
    for _ in range(2):  # what is on record is said again
        found = extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("image")), device="cpu")
        assert {fault.stage for fault in found.faults.values()} == {"decode"} and len(found.faults) == 2


def test_an_encoder_that_fails_on_everything_is_an_error(
    tmp_path: Path, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "d", a=png(1), b=png(2))
    producers = wanted(FakeSpec("image"))
    monkeypatch.setattr("factories.fake_vector", lambda *_: np.full(4, np.nan, np.float32))
    with pytest.raises(FeatcacheError, match="all 2 image contents failed"):
        extract_pictures(folder, tmp_path / "c", producers, device="cpu")


def test_the_cache_is_one_that_featcache_knows(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    with pytest.raises(FeatcacheError, match="neither empty nor a cache"):
        extract_pictures(folder, folder, wanted(FakeSpec("image")), device="cpu")
    make_cache(tmp_path / "c", "float32")
    found = extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("image", storage_dtype="float16")), device="cpu")
    (shard,) = (tmp_path / "c").glob("features/*/clean/*.h5")
    assert shard.is_file() and found.store.rows(found.store.select("image")).dtype == np.float16


def test_it_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, featcache\n"
        "before = 'featcache.extraction.run' in sys.modules\n"
        "featcache.extract_pictures, featcache.ExtractedPictures, featcache.Progress\n"
        "after = 'featcache.extraction.run' in sys.modules\n"
        "try: featcache.nothing\n"
        "except AttributeError as error: print(before, after, 'torch' in sys.modules, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False True False module 'featcache' has no attribute 'nothing'"


def test_a_picture_that_is_not_taken_is_left_out_with_the_reason(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    (folder / "raw.DNG").write_bytes(b"II*\0")
    found = extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("image")), device="cpu")
    assert len(found) == 1 and not found.faults
    (left_out,) = found.left_out
    assert left_out.path == str(folder / "raw.DNG") and left_out.message.startswith("of a kind that is not decoded")


def test_a_cache_that_heads_may_be_fitted_on_takes_no_pictures_to_be_judged(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    producers = wanted(FakeSpec("image"))
    extract(Manifest.from_source(folder), make_cache(tmp_path / "c"), [FakeSpec("image")])
    before = {path: path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file()}
    with pytest.raises(FeatcacheError, match=r"has data set 'd', which heads may be fitted on.* a folder that is not"):
        extract_pictures(folder, tmp_path / "c", producers, device="cpu")
    assert {path: path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file()} == before
    with pytest.raises(ManifestError, match="expected what read_pictures reads"):
        extract_pictures(Manifest.from_source(folder), tmp_path / "own", producers, device="cpu")
    read = read_pictures(folder, contents=("image",))
    found = extract_pictures(read, tmp_path / "own", producers, device="cpu")
    assert not found.faults and found.store.splits == () and found.store.samples.split_seed is None


def test_a_name_that_is_no_utf_8_is_encoded_like_any_other(tmp_path: Path, wanted: Wanted) -> None:
    folder = write_folder(tmp_path / "d", a=png(1))
    odd = os.fsdecode(bytes(folder) + b"/caf\xe9.png"), os.fsdecode(bytes(folder) + b"/bad\xe9.png")
    Path(odd[0]).write_bytes(png(2))
    Path(odd[1]).write_bytes(b"no picture")
    for n_encoded in (2, 0):
        found = extract_pictures(folder, tmp_path / "c", wanted(FakeSpec("image")), device="cpu")
        assert found.n_encoded == n_encoded and [fault.stage for fault in found.faults.values()] == ["decode"]
        assert rows(found).keys() == {"a.png", r"caf\udce9.png", r"bad\udce9.png"}
        assert found.path(rows(found)[r"caf\udce9.png"]) == odd[0]
