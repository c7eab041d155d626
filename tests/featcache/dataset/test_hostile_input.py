"""Manifests, pictures and names that mean harm: refused or recorded, in bounded time and memory, never printed raw."""

import hashlib
import io
import json
import math
import os
import re
import socket
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cli
from featcache.cache.folder import Cache
from featcache.dataset.manifest import Manifest
from featcache.errors import ManifestError
from featcache.extraction.forecast import forecast_extraction
from featcache.extraction.run import extract
from featcache.extraction.survey.scan import scan
from featcache.identity.terms import SPLITS

from factories import FakeSpec, make_cache, png, run_python, write_bert, write_dataset, write_vision

ESCAPES = "\x1b]0;title\x07\x1b[31m\x9b1m\r\u202e\u2066\u200f"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

CELLS = st.one_of(
    st.none(),
    st.sampled_from(["real", "REAL", "ai", "sdxl", "train", "val", "0", "1", "2.0", "-1", "a.png", "", " ", "row-1"]),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, 1.5, math.nan, math.inf, -math.inf, 1e300, 10**400, True, False]),
    st.text(max_size=8),
    st.text(st.characters(), max_size=4),  # lone surrogates too
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)
COLUMNS = ["image", "caption", "label_a", "label_b", "generator", "split", "sample_id", "group", "Caption", "other", ""]


def check_invariants(manifest: Manifest) -> None:
    samples = manifest.samples
    assert samples and len({s.sample_id for s in samples}) == len(samples)
    assert "real" not in manifest.generators and len(set(manifest.generators)) == len(manifest.generators)
    for sample in samples:
        assert sample.image is not None or sample.caption is not None
        assert sample.caption is None or sample.caption.strip()
        assert sample.label_a in (-1, 0, 1) and sample.split in (None, *SPLITS)
        assert sample.label_b in (None, "real", *manifest.generators)
        assert (sample.label_a == 0) == (sample.label_b == "real")
        assert sample.label_a == 1 or sample.label_b in (None, "real")
        for text in (sample.sample_id, sample.caption, sample.label_b, sample.group):
            assert text is None or "\0" not in text.encode().decode()


def read_or_refuse(path: Path) -> Manifest | None:
    try:
        manifest = Manifest.from_source(path, on_orphan="skip")
    except ManifestError as error:
        assert str(error).isprintable() and len(str(error)) < 2000
        return None
    check_invariants(manifest)
    return manifest


@given(data=st.data())
def test_a_table_of_any_cells_is_a_sound_manifest_or_one_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    (path.parent / "a.png").write_bytes(png(1))
    columns = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=6, unique=True))
    if data.draw(st.booleans()):
        columns = sorted({"caption", *columns} - {"Caption"})
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(columns, CELLS)), min_size=1, max_size=5))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read_or_refuse(path)


@given(data=st.binary(max_size=300), ending=st.sampled_from(["csv", "tsv", "jsonl", "parquet", "xlsx", "tar"]))
def test_a_file_of_any_bytes_is_a_sound_manifest_or_one_error(
    data: bytes, ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes.{ending}"
    path.write_bytes(b"caption,label_a\n" + data if ending in ("csv", "tsv") else data)
    read_or_refuse(path)


@given(
    captions=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=6
    )
)
def test_the_key_of_a_caption_is_the_digest_of_its_exact_text(
    captions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "keys.jsonl"
    path.write_text("".join(json.dumps({"caption": f"x{text}"}) + "\n" for text in captions))
    keys = scan(Manifest.from_source(path), workers=1).table.keys("text")
    assert [bytes(key) for key in keys] == [hashlib.sha256(f"x{text}".encode()).digest() for text in captions]


@given(
    names=st.lists(
        st.tuples(st.sampled_from(["", "a/", "a/b/", "ä b/"]), st.text("abcäß☃ -_", min_size=1, max_size=40)),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_ids_of_a_folder_are_the_names_of_its_pictures(
    names: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    for parent, stem in names:
        (folder / parent).mkdir(parents=True, exist_ok=True)
        (folder / parent / f"{stem}.png").write_bytes(b"x")
    assert {s.sample_id for s in Manifest.from_source(folder).samples} == {
        f"{parent}{stem}.png" for parent, stem in names
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_line_of_200_megabytes_is_refused_in_bounded_memory(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{ending}"
    path.write_bytes(b"caption\n" if ending != "jsonl" else b"")
    os.truncate(path, 200_000_000)  # a hole: it takes no room on disk
    tracemalloc.start()
    try:
        with pytest.raises(ManifestError, match=r"line \d is longer than 16777216 bytes"):
            Manifest.from_source(path)
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(60)
def test_a_row_of_many_lines_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with path.open("w") as file:
        file.write("caption,x\n")
        for _ in range(1200):
            file.write('"' + "y" * 15_000 + '\n",')
    with pytest.raises(ManifestError, match=r"line 2 is not well-formed \(a row longer than 16777216 characters"):
        Manifest.from_source(path)


def test_formulas_in_a_csv_file_are_text(tmp_path: Path) -> None:
    cells = ["=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"]
    path = tmp_path / "m.csv"
    path.write_text("id,caption\n" + "".join(f'"{cell}","{cell}"\n' for cell in cells))
    samples = Manifest.from_source(path).samples
    assert [(s.sample_id, s.caption) for s in samples] == [(cell, cell) for cell in cells]


@pytest.mark.parametrize("column", ["label_a", "label_b", "split"])
@pytest.mark.parametrize("number", ["1" * 400, "-" + "1" * 400, "1e300", "1e400", "-Infinity", "1" * 5000])
def test_a_number_that_means_nothing_is_refused(column: str, number: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"caption": "a", "{column}": {number}}}\n')
    with pytest.raises(ManifestError, match=r"m\.jsonl, (row|line) 1") as caught:
        Manifest.from_source(path)
    assert len(str(caught.value)) < 400


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_hundred_thousand_columns_of_any_names_are_bounded(ending: str, tmp_path: Path) -> None:
    names = [f"{ESCAPES}{i}" for i in range(100_000)]
    path = tmp_path / f"m.{ending}"
    row = dict.fromkeys(names, 1)
    path.write_text(",".join(f'"{name}"' for name in names) if ending == "csv" else json.dumps(row), newline="")
    assert read_or_refuse(path) is None
    path.write_text(json.dumps(row | {"caption": "a"}) if ending == "jsonl" else ",".join(["caption", *names]) + "\n")
    read_or_refuse(path)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_million_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with path.open("w") as file:
        file.write("id,caption,label_b\n")
        file.writelines(f"{i},caption {i},{i % 6}\n" for i in range(1_000_000))
    manifest = Manifest.from_source(path)
    assert (len(manifest.samples), manifest.generators) == (1_000_000, ("1", "2", "3", "4", "5"))


@pytest.fixture
def special(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names, in the working folder, of things that are no pictures."""
    monkeypatch.chdir(tmp_path)  # a socket's path has a length limit
    os.mkfifo("fifo.png")
    Path("folder.png").mkdir()
    Path("loop.png").symlink_to("loop.png")
    Path("loop").symlink_to(".")
    Path("zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        yield [
            "fifo.png",
            "folder.png",
            "loop.png",
            "zero.png",
            "socket.png",
            "/dev/zero",
            "/dev/stdin",
            "/proc/self/mem",
        ]


@pytest.mark.timeout(20)
def test_what_is_no_file_is_an_orphan_and_never_opened(
    special: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.png").write_bytes(png(1))
    names = [*special[:-1], "loop/loop/a.png", str(tmp_path / "a.png"), f"../{tmp_path.name}/a.png"]
    Path("m.csv").write_text("image\n" + "\n".join(names) + "\n")
    opened = []
    open_ = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *args, **kwargs: (opened.append(str(path)), open_(path, *args, **kwargs))[1]
    )
    manifest = Manifest.from_source("m.csv", on_orphan="skip")
    assert len(manifest.orphans) == len(special) - 1
    assert [s.image.read_bytes() for s in manifest.samples if s.image] == [png(1)] * 3
    assert all(name.endswith("a.png") for name in opened)


@pytest.mark.timeout(20)
def test_what_turns_into_something_else_after_planning_is_a_failure(special: list[str]) -> None:
    names = [f"{i}.png" for i in range(len(special))]
    for i, name in enumerate([*names, "good.png"]):
        Path(name).write_bytes(png(i))
    Path("m.csv").write_text("image\n" + "\n".join([*names, "good.png"]) + "\n")
    manifest = Manifest.from_source("m.csv")
    for name, target in zip(names, special, strict=True):
        Path(name).unlink()
        Path(name).symlink_to(target)
    result = extract(manifest, make_cache(Path("cache")), [FakeSpec("image")])
    n_regular = 1 + ("/proc/self/mem" in special)  # reading it fails in its own way
    assert (result.n_encoded, result.n_failed) == (1, len(special))
    assert sum("not a regular file" in f.message for f in result.unreadable) >= len(special) - n_regular - 1


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int, rows: bytes = b"") -> bytes:
    """A little PNG that claims to be large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG")
    return buffer.getvalue()


HOSTILE = {
    "bomb.png": bomb(60_000, 60_000, bytes(10_000_000)),
    "huge.png": bomb(2**31 - 1, 2**31 - 1),
    "strip.png": bomb(1_000_000, 1, bytes(3_000_001)),
    "tower.png": bomb(1, 1_000_000, bytes(4_000_000)),
    "zero.png": bomb(0, 0),
    "cut.png": png(1, (64, 64))[:2000],
    "cut.jpg": jpeg()[:300],
    "text.jpg": b"this is text" + ESCAPES.encode(),
    "empty.jpg": b"",
    "vector.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "page.png": b"<html><script>alert(1)</script>",
    "script.gif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "archive.png": b"PK\x03\x04" + png(2),
    "pdf.jpg": b"%PDF-1.7\n" + jpeg(),
    "gifjs.gif": b"GIF89a/*" + bytes(4) + b"*/=1;",
}


def write_hostile(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in HOSTILE.items():
        (folder / name).write_bytes(data)
    (folder / "good.png").write_bytes(png(3))
    (folder / "tail.jpg").write_bytes(jpeg() + b"PK\x03\x04 a polyglot: a picture that something follows")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_hostile_pictures_are_failures_in_bounded_memory(tmp_path: Path) -> None:
    code = """
import json, sys
from pathlib import Path
from factories import FakeSpec, make_cache, peak_bytes
from featcache.extraction.run import extract
from featcache.dataset.manifest import Manifest
before = peak_bytes()
result = extract(Manifest.from_source(sys.argv[1]), make_cache(Path(sys.argv[2])), [FakeSpec("image")])
failed = sorted(f.sample_id for side in result.sides for f in side.failures)
print(json.dumps([result.n_encoded, failed, (peak_bytes() - before) / 2**20]))
"""
    found = run_python(code, write_hostile(tmp_path / "data"), tmp_path / "cache")
    n_encoded, failed, grown = json.loads(found)
    assert (n_encoded, set(failed)) == (2, set(HOSTILE))
    assert grown < 300  # MB; decoding the first bomb would take 10,000


@contextmanager
def command_line(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        yield


def run(command: str, *arguments: object, cwd: Path) -> tuple[int, str]:
    """Run a command in this process: its exit code, and all that it printed, which must be harmless."""
    out, err = io.StringIO(), io.StringIO()
    with command_line(cwd), pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [command, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            getattr(cli, f"{command}_main")()
    printed = out.getvalue() + err.getvalue()
    assert not (found := RAW.search(printed)), (arguments, found, printed)
    assert "Traceback" not in printed
    return int(exit_.value.code or 0), printed


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("models")
    bert, clip = write_bert(folder / "bert"), write_vision(folder / "clip")
    return ("--text-model", bert, "--image-model", clip, "--device", "cpu")


def test_hostile_pictures_end_in_exit_code_three(tmp_path: Path, models: tuple[object, ...]) -> None:
    write_hostile(tmp_path / "data")
    code, printed = run("featcache", "extract", "data", *models, "--cache", "cache", cwd=tmp_path)
    assert code == 3 and f"{len(HOSTILE)} failed" in printed
    code, printed = run("featcache", "status", "cache", "--json", cwd=tmp_path)
    assert code == 0


def write_escapes(folder: Path, n_captions: int = 24) -> Path:
    """A data set that has terminal escapes wherever text can stand, and two broken pictures."""
    folder.mkdir()
    rows = []
    for i in range(n_captions):
        for b, name in enumerate(("real", f"alpha{ESCAPES}", f"[red]beta{ESCAPES}[/]")):
            file = f"{i}-{b}{ESCAPES}.png"
            (folder / file).write_bytes(png(10 * i + b) if (i, b) not in ((0, 1), (1, 0)) else ESCAPES.encode())
            row = {"image": file, "caption": f"caption {i}{ESCAPES}", "label_b": name, "group": f"g{i}{ESCAPES}"}
            split = ("train", "train", "train", "valid", "test", "train")[i % 6]
            rows.append(row | {"sample_id": f"{i}-{b}{ESCAPES}", "split": split})
    path = folder / f"m{ESCAPES}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def escapes(tmp_path_factory: pytest.TempPathFactory, models: tuple[object, ...]) -> Path:
    """A project whose data are full of terminal escapes, and its cache."""
    root = tmp_path_factory.mktemp("escapes")
    data = write_escapes(root / f"data{ESCAPES}")
    code, printed = run("featcache", "extract", data, *models, "--cache", f"cache{ESCAPES}", cwd=root)
    assert code == 3 and "failed" in printed and r"\x1b]0;title\x07" in printed
    return root


@pytest.mark.parametrize("command", ["status", "verify", "failures", "gc", "repair", "diff"])
@pytest.mark.parametrize("option", [(), ("--json",)])
def test_escapes_in_data_never_reach_the_terminal(escapes: Path, command: str, option: tuple[str, ...]) -> None:
    known = {c.name or c.callback.__name__ for c in cli.featcache_app.registered_commands if c.callback}
    if command not in known:
        pytest.skip(f"there is no command {command}")
    code, printed = run("featcache", command, f"cache{ESCAPES}", *option, cwd=escapes)
    assert printed and code in (0, 1, 2, 3)


def test_escapes_never_reach_the_terminal_from_errors(escapes: Path, models: tuple[object, ...]) -> None:
    cache = f"cache{ESCAPES}"
    for arguments in (
        ("extract", f"missing{ESCAPES}.csv", *models, "--cache", cache),
        ("extract", ESCAPES, *models, "--cache", cache),
        ("extract", f"hf:{ESCAPES}", *models, "--cache", cache),
        ("status", f"nowhere{ESCAPES}"),
        ("verify", f"nowhere{ESCAPES}"),
        ("export", cache, "--out", f"x{ESCAPES}.nothing"),
    ):
        code, printed = run("featcache", *arguments, cwd=escapes)
        assert code == 1 and "error: " in printed


@pytest.mark.slow
def test_escapes_never_reach_the_terminal_from_heads(escapes: Path) -> None:
    cache, run_folder = f"cache{ESCAPES}", f"runs/a{ESCAPES}"
    train = ("train", cache, "--loss", "multitask", "--dim", 8, "--out", run_folder)
    assert run("heads", *train, cwd=escapes)[0] == 0
    for arguments in (
        ("evaluate", run_folder, "--cache", cache, "--split", "test"),
        ("evaluate", run_folder, "--cache", cache, "--split", "test", "--json"),
        ("predict", run_folder, cache, "--out", f"answers{ESCAPES}.csv"),
        ("predict", run_folder, cache, "--out", "answers.jsonl", "--json"),
        ("predict", f"nowhere{ESCAPES}", cache, "--out", "x.csv"),
        ("train", f"nowhere{ESCAPES}", "--loss", "multitask"),
    ):
        code, printed = run("heads", *arguments, cwd=escapes)
        assert printed and code in (0, 1, 3)


SPECIAL = (
    "features/{0}/clean/00.h5", "samples/evil.h5", "encoders/000000000000.json", "failures/{0}/clean/x.json",
    "failures/samples/d/read.json", "failures/samples/d/orphans.json", "cache.json", "index.json",
    "claims/{0}/clean/00.json", "memo/d.h5", "memo/checked/{0}/clean.json", "plans/d/000000000000.json",
)  # fmt: skip
HARMLESS = ("index.json", "claims", "memo", "plans")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("place", SPECIAL)
@pytest.mark.parametrize("kind", ["fifo", pytest.param("device", marks=pytest.mark.slow)])
def test_what_is_no_file_in_a_cache_is_named_and_moved_aside(place: str, kind: str, tmp_path: Path) -> None:
    spec, cache = FakeSpec("image"), make_cache(tmp_path / "c")
    manifest = Manifest.from_source(write_dataset(tmp_path / "d", n_captions=1))
    extract(manifest, cache, [spec])
    path = cache.path / place.format(spec.fingerprint.short)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    is_harmless = place.startswith(HARMLESS)
    for arguments in (("status", "c"), ("failures", "c"), ("export", "c", "--dataset", "d", "--out", "x.npz")):
        code, printed = run("featcache", *arguments, cwd=tmp_path)
        assert code == 0 or (code == 1 and path.name in printed and not is_harmless)
    code, printed = run("featcache", "verify", "c", cwd=tmp_path)
    assert is_harmless or (code == 1 and str(path.relative_to(tmp_path)) in printed)
    code, printed = run("featcache", "repair", "c", cwd=tmp_path)
    moved = list(cache.path.glob(f"quarantine/*/{path.relative_to(cache.path)}"))
    assert code == 0 and (is_harmless or len(moved) == 1)
    forecast_extraction(manifest, Cache.open(cache.path), [spec])
    extract(manifest, Cache.open(cache.path), [spec])
    assert run("featcache", "verify", "c", "--deep", cwd=tmp_path)[0] == 0
    assert run("featcache", "status", "c", cwd=tmp_path)[0] == 0
