"""Runs and classifiers that somebody spoilt: whatever a number of a seed says is done to a copy of a whole one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import socket
import struct
from collections.abc import Callable
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

RECORDS = ("run.json", "classifier.json")
SPOILT_ALREADY = (
    *(StopIteration, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError),
    struct.error,
)
LONG = "@long@"  # json cannot write so many digits
ODD: tuple[Any, ...] = (
    *(0, -1, 1, 2, 2**31, 2**53 + 1, 2**63, 10**30, 10**299, 10**400, -(10**400), LONG),
    *(0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(None, True, False, "", "x", "x" * 100_000, "\ud800", "\0", "../../etc/passwd", "/dev/zero", "[1]"),
    *([], {}, [[]], [None], {"": {}}, ["x"] * 10_000, [0] * 100_000, {str(i): i for i in range(5000)}),
)
TOKENS = ("", "-", "nan", "inf", "1e999", "-1", "0", "9" * 400, "9" * 11, "2147483648", "1.5", "1e30", "0x1", " ", "\0")


def spoil(source: Path, folder: Path, seed: int) -> list[str]:
    """Copy a run or a classifier and spoil the copy; returns what was done."""
    rng = random.Random(seed)
    shutil.copytree(source, folder)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        spoiler = rng.choice(SPOILERS)
        with suppress(*SPOILT_ALREADY):
            spoiler(folder, rng)
            done.append(spoiler.__name__)
    if rng.random() < 0.75:
        with suppress(*SPOILT_ALREADY):
            _seal(folder)
            done.append("sealed")
    return done


def _seal(folder: Path) -> None:
    """Make the checksums right again, so that what is behind them is looked at too."""
    path = _record(folder)
    record = json.loads(_read(path))
    found = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size < 2**23]
    sums = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}
    del sums[path.name]
    record["files"] = {name: sums.get(name, digest) for name, digest in record["files"].items()}
    path.write_text(json.dumps(record))


def _record(folder: Path) -> Path:
    return next(folder / name for name in RECORDS if os.path.lexists(folder / name))


def _document(folder: Path, rng: random.Random) -> Path:
    return rng.choice((_record(folder), *sorted((folder / "head").glob("*head.json"))))


def _read(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > 2**23:
        raise OSError("no file, or a giant already")
    return path.read_bytes()


def _file(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()))


def _flip_bytes(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng)
    data = bytearray(_read(path))
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _truncate(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))


def _grow(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng)
    os.truncate(path, rng.choice((path.stat().st_size + 1, 2**20, 2**28, 2**30 - 1, 2**30 + 1, 2**40)))


def _fill_with_rubbish(folder: Path, rng: random.Random) -> None:
    pieces = (b"[", b'{"a":', b"[],", b"{},", b'{"a":0},', b"\0", b"\xff", b"9", b"Tree=0\n", b" ", b"0 ")
    rubbish = rng.choice(pieces) * rng.choice((1, 900, 10**6))
    _file(folder, rng).write_bytes(rng.choice((b"", b"[", b"tree\n")) + rubbish)


def _replace_value(folder: Path, rng: random.Random) -> None:
    path = _document(folder, rng)
    value = json.loads(_read(path))
    places = list(_places(value))
    parent, key = rng.choice(places)
    parent[key] = rng.choice((_nested(rng), rng.choice(ODD), rng.choice(ODD), rng.choice(ODD)))
    path.write_text(_dump(value))


def _move_value(folder: Path, rng: random.Random) -> None:
    path = _document(folder, rng)
    value = json.loads(_read(path))
    (one, a), (other, b) = rng.sample(list(_places(value)), 2)
    one[a] = other[b]
    path.write_text(_dump(value))


def _change_keys(folder: Path, rng: random.Random) -> None:
    path = _document(folder, rng)
    value = json.loads(_read(path))
    parent = rng.choice([parent for parent, _ in _places(value) if isinstance(parent, dict)])
    if rng.random() < 0.5:
        del parent[rng.choice(sorted(parent))]
    else:
        parent[rng.choice(("more", "", "\ud800", "__class__", "x" * 10_000))] = rng.choice(ODD)
    path.write_text(_dump(value))


def _list_more_files(folder: Path, rng: random.Random) -> None:
    record = json.loads(_read(_record(folder)))
    names = ("notes", "head/notes", "head/../run.json", "/etc/passwd", "head", "", "x" * 300, "nu\0l", "head/x/y", "..")
    for name in rng.sample(names, rng.randint(1, 3)):
        record["files"][name] = "0" * 64
        with suppress(OSError, ValueError):
            if rng.random() < 0.7 and name in ("notes", "head/notes"):
                (folder / name).open("xb").close()
    _record(folder).write_text(json.dumps(record))


def _change_header(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted((folder / "head").glob("*.safetensors")))
    data = _read(path)
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    parent, key = rng.choice(list(_places(header)))
    parent[key] = rng.choice((rng.choice(ODD), "F16", "BOOL", "F64", "I64", [0, 2**62], [2**40, 2**40], [0, 0]))
    text = _dump(header).encode("utf-8", "surrogatepass")
    sizes = (len(text), len(text), len(text), 0, 2**63, 2**64 - 1, len(text) + 1)
    path.write_bytes(struct.pack("<Q", rng.choice(sizes)) + text + data[8 + size :])


def _change_weights(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted((folder / "head").glob("*.safetensors")))
    data = bytearray(_read(path))
    (size,) = struct.unpack("<Q", data[:8])
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange((8 + size) // 4 + 1, len(data) // 4) * 4
        data[place : place + 4] = struct.pack("<I", rng.choice((0x7FC00000, 0x7F800000, 0x7F7FFFFF, 1, 0xFF7FFFFF)))
    path.write_bytes(data)


def _change_tree(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted((folder / "head").glob("*model-*.txt")))
    text = _read(path).decode()
    for _ in range(rng.randint(1, 3)):
        found = rng.choice(list(re.finditer(r"(?<=[ =])[^ =\n]+", text)))
        other = rng.choice((rng.choice(TOKENS), str(rng.randint(-300, 300))))
        text = text[: found.start()] + other + text[found.end() :]
    if rng.random() < 0.7:  # the sizes of the trees are right again, so that what is in them is looked at
        trees = re.findall(r"Tree=\d+\n.*?\n\n\n", text, re.DOTALL)
        text = re.sub(r"tree_sizes=.*", "tree_sizes=" + " ".join(str(len(tree)) for tree in trees), text)
    path.write_text(text)


def _exchange_lines(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted((folder / "head").glob("*model-*.txt")))
    lines = _read(path).decode().split("\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a] = lines[b]
    path.write_text("\n".join(lines))


def _exchange_files(folder: Path, rng: random.Random) -> None:
    one, other = _file(folder, rng), _file(folder, rng)
    data = _read(one)
    one.write_bytes(_read(other))
    other.write_bytes(data)


def _be_no_file(folder: Path, rng: random.Random) -> None:
    path = rng.choice((_file(folder, rng), _file(folder, rng), folder / "head"))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    rng.choice(KINDS)(path)


def _add_a_file(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(("notes", "head/notes", "head/.hidden", "head/model-7.txt"))
    rng.choice((*KINDS, Path.touch))(path)


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, chdir(path.parent):
        listener.bind(path.name)


def _nested(rng: random.Random) -> Any:
    value: Any = 0
    for _ in range(rng.choice((10, 60, 64, 70, 400))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _places(value: Any) -> Any:
    """Yield (parent, key) of every value of a document."""
    for key in list(value if isinstance(value, dict) else range(len(value))):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _dump(value: Any) -> str:
    return json.dumps(value).replace(json.dumps(LONG), "9" * 5000)


def _giant(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


KINDS: tuple[Callable[[Path], Any], ...] = (
    os.mkfifo,
    _bind,
    Path.mkdir,
    _giant,
    lambda path: path.symlink_to("nowhere"),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to(path.parent),
)
SPOILERS = (
    *(_flip_bytes, _truncate, _grow, _fill_with_rubbish, _list_more_files, _exchange_files, _be_no_file, _add_a_file),
    *(_replace_value,) * 4,
    *(_move_value, _change_keys, _change_header, _change_weights, _change_tree, _change_tree, _exchange_lines),
)
