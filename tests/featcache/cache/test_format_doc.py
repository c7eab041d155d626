"""What docs/format.md says is what is on disk."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from featcache.dataset.manifest import Manifest
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store

from factories import FakeSpec, make_cache, read_manifest, write_dataset

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "format.md").read_text(encoding="utf-8")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    data = write_dataset(tmp_path / "d", caption=["", *[f"c{i} ü" for i in range(17)]])
    (tmp_path / "d" / "1-beta.png").write_bytes(b"broken")
    specs = [FakeSpec("text", ("cls", "mean")), FakeSpec("image", width=3)]
    extract(read_manifest(data), make_cache(tmp_path / "c"), specs, options=ExtractOptions(device="cpu", unit_rows=4))
    return tmp_path / "c"


def reader() -> Callable[..., Any]:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(code.splitlines()) <= 36
    return names["read_features"]


@pytest.mark.parametrize(("modality", "output"), [("text", "cls"), ("text", "mean"), ("image", "pooled")])
def test_the_reader_in_the_document_reads_what_the_store_reads(cache: Path, modality: str, output: str) -> None:
    sample_ids, vectors = reader()(cache, "d", modality, output)
    store = open_store(cache)
    expected = store.arrays(selections={modality: store.select(modality, outputs=[output])})
    assert sample_ids == expected.sample_id.tolist() and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected.features[modality])
    assert np.isnan(vectors).all(1).sum() == 1


def test_json_files_are_sealed_as_documented(cache: Path) -> None:
    files = [p for p in cache.rglob("*.json") if "claims" not in p.parts]
    assert len(files) >= 5
    for path in files:
        head, _, body = path.read_bytes().partition(b"\n")
        assert head == b'{"checksum": "%s",' % hashlib.sha256(body).hexdigest().encode(), path


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_digests_are_made_as_documented(cache: Path) -> None:
    for path in (cache / "encoders").glob("*.json"):
        document = json.loads(path.read_bytes())
        assert document["fingerprint"] == hashlib.sha256(canonical(document["identity"])).hexdigest()
        assert path.stem == document["fingerprint"][:12]
    index = json.loads((cache / "index.json").read_bytes())
    for path in cache.glob("features/**/*.h5"):
        number, checksum_of_file, checksum_of_content = index["shards"][path.relative_to(cache).as_posix()]
        layout = index["layouts"][number]
        assert checksum_of_file == hashlib.sha256(path.read_bytes()).hexdigest()
        assert layout["size"] == path.stat().st_size
        with h5py.File(path) as shard:
            for name, (offset, shape, dtype) in layout["outputs"].items():
                dataset = shard["features"][name]
                assert (offset, tuple(shape), dtype) == (dataset.id.get_offset(), dataset.shape, dataset.dtype.name)
            names = ["key", *(f"{group}/{name}" for group in ("features", "norm") for name in shard[group])]
            digests = {name: hashlib.sha256(shard[name][()].tobytes()).hexdigest() for name in names}
            assert all(shard[name].attrs["sha256"].decode() == digest for name, digest in digests.items())
            attributes = {
                name: value.decode() if isinstance(value, bytes) else int(value) for name, value in shard.attrs.items()
            }
            checksum = attributes.pop("checksum")
            assert checksum == checksum_of_content == hashlib.sha256(canonical([attributes, digests])).hexdigest()
            offset, shape, dtype = layout["key"]
            mapped = np.memmap(path, dtype, "r", offset, tuple(shape))
            np.testing.assert_array_equal(mapped, shard["key"][()])


def test_a_sample_table_is_checked_as_documented(cache: Path) -> None:
    with h5py.File(cache / "samples" / "d.h5") as table:
        columns = {name: table[name][()] for name in table}
        digest = hashlib.sha256(columns.pop("dataset").tobytes() + b"\0" + columns.pop("origin").tobytes())
        for name in sorted(columns):
            digest.update(f"\0{name} {columns[name].shape}\0".encode() + columns[name].tobytes())
        assert table.attrs["checksum"].decode() == digest.hexdigest()
    for name in columns:
        assert re.search(rf"`{name}`", DOCUMENT) or name.endswith((".utf8", ".offsets")), name


def test_what_the_data_and_the_user_say_of_rows_is_stored_as_documented(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", origin=["web é", "", *["scan"] * 16])
    manifest = Manifest.from_source(data, columns="caption=caption", root=tmp_path / "d")
    extract(manifest, make_cache(tmp_path / "c"), [FakeSpec("text", ("cls",))], options=ExtractOptions(device="cpu"))
    with h5py.File(tmp_path / "c" / "samples" / "d.h5") as table:
        found = {name: table[name][()] for name in table}
    text, ends = found["row_origin.utf8"].tobytes(), found["row_origin.offsets"]
    assert [text[a:b].decode() for a, b in pairwise(ends)][:3] == ["web é", "", "scan"]
    assert found["columns"].tobytes() == b"caption=caption"
    assert found["root"].tobytes().decode() == str(tmp_path / "d")
    for name in ("row_origin.utf8", "row_origin.offsets", "columns", "root"):
        assert f"`{name}`" in DOCUMENT
