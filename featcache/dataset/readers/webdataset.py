"""WebDataset tars: the members of one key are one sample; pictures stay in the tar and are read by seeking."""

import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from featcache.dataset.readers.archive import TarMember, walk_members
from featcache.dataset.readers.cells import LABELS, decode_caption, parse_cell, parse_object, quoted
from featcache.dataset.readers.folders import IMAGE_ENDINGS
from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.narrow import parse_table
from featcache.dataset.readers.outcome import OnOrphan, Parsed, settle_orphans
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.dataset.readers.table import Table, more_rows
from featcache.dataset.readers.words import SPLIT_NAMES, verdict_of
from featcache.errors import ManifestError
from featcache.files.regular import open_regular

__all__ = ["TarImage", "read_tars"]

_FIELDS = ("caption", "label_a", "label_b", "generator", "split", "group", "sample_id")
_ROLES = dict.fromkeys((ending[1:] for ending in IMAGE_ENDINGS), "image") | {
    "txt": "caption",
    "caption": "caption",
    "json": "metadata",
    "cls": "class",
}
_SIDECAR_LIMIT = 2**20
_FAULT_LIMIT = 100
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True)
class TarImage:
    """A picture inside an uncompressed tar.

    Attributes
    ----------
    path : str
        Path of the tar file.
    offset, size : int
        Where in the tar its bytes are, and how many.
    member : str
        Its name in the tar, for messages.
    """

    path: str
    offset: int
    size: int
    member: str

    @property
    def name(self) -> str:
        """Give tar and member."""
        return f"{self.path} {self.member}"

    def read_bytes(self) -> bytes:
        """Read the encoded picture.

        Raises
        ------
        OSError
            The tar cannot be read any more, or ends before the picture does.
        """
        with open_regular(self.path) as file:
            left = max(0, os.fstat(file.fileno()).st_size - self.offset)
            if self.size > left:
                raise OSError(f"{self.name}: the tar claims {self.size:.6g} bytes and has {left} of them")
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(slots=True)
class _Parts:
    """What one tar holds under one key."""

    image: TarImage | None = None
    cells: dict[str, object] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    other: str | None = None


class _Faults:
    """Lines about what could not be read; those about one tar are bounded in number."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def add(self, line: str) -> None:
        self._count += 1
        if self._count <= _FAULT_LIMIT:
            self.lines.append(line)

    def end_tar(self, tar: str) -> None:
        if self._count > _FAULT_LIMIT:
            self.lines.append(f"{tar}: and {self._count - _FAULT_LIMIT} more")
        self._count = 0


def read_tars(paths: Sequence[Path], *, on_orphan: OnOrphan, reading: Reading) -> Parsed:
    """Read tars in the given order, each once and by its headers; only captions, labels and metadata are loaded.

    The key of a member is its name up to the first dot of the last part; what follows is its extension, in which
    case does not count. A picture has the extension jpg, png, webp, …; ``txt`` or ``caption`` is the caption;
    ``cls`` is label_b (a whole number, 0 for real pictures, or a word for them or AI pictures); ``json`` is an object
    of which caption, label_a, label_b, generator, split, group and sample_id count. ``txt`` goes before the object's
    caption, the object's label_b before ``cls``. Other members are ignored, and hidden ones. The sample's id is its key
    unless the object has another.

    Where several tars are all named like splits (train-000.tar, val-000.tar) and not all like the same one, a tar
    gives the split of its samples that have none. Where no sample has a label of its own, the folders in the keys give
    labels and splits by the rules of folders on disk (`featcache.dataset.readers.layout`).

    What is damaged is left out and named in `Parsed.broken`: at most 100 lines a tar, and their count.

    Raises
    ------
    ManifestError
        A tar is compressed, no sample is left, or values break a rule of tables (`narrow.parse_table`), among them
        that ids are unique over all tars.
    """
    faults = _Faults()
    orphans: list[str] = []
    rows: list[tuple[str, str, _Parts]] = []
    splits = _split_by_tar(paths)
    for path in paths:
        try:
            parts = _read_tar(path, faults)
        except FileNotFoundError:
            orphans.append(f"there is no file {quoted(str(path))}")
            continue
        faults.end_tar(path.name)
        for key, part in parts.items():
            if path in splits:
                part.cells.setdefault("split", splits[path])
            rows.append((path.name, key, part))
    settle_orphans(orphans, len(rows), on_orphan)
    if not rows:
        reason = faults.lines[0] if faults.lines else "expected members named like pictures or captions, found none"
        raise ManifestError(f"no samples in {quoted(str(paths[0]))}{more_rows(len(paths), 'tar')}: {reason}")
    left, notes = _label_by_folders(rows, reading)
    parsed = parse_table(_tabulate(rows, left), on_orphan=on_orphan)
    return parsed._replace(orphans=tuple(orphans), broken=tuple(faults.lines), notes=notes + parsed.notes)


def _label_by_folders(rows: Sequence[tuple[str, str, _Parts]], reading: Reading) -> tuple[Reading, tuple[str, ...]]:
    """Add labels and splits by the folders in keys where no sample has a label; what is left to be read by then."""
    has_folders = any("/" in key for _, key, _ in rows)
    if reading.is_early or not has_folders or any(part.cells.keys() & {*LABELS} for _, _, part in rows):
        return reading, ()
    labels, notes = label_paths(rows[0][0], (key for _, key, _ in rows), reading)
    for _, key, part in rows:
        split, label_a, label_b = labels[tuple(key.split("/")[:-1])]
        part.cells |= {"label_a": label_a, "label_b": label_b}
        part.cells.setdefault("split", split)
    return replace(reading, labels="auto"), notes


def _split_by_tar(paths: Sequence[Path]) -> dict[Path, str]:
    """Give the split that each tar is named after, if all are and they differ."""
    words = [re.split(r"[-_.]", path.name, maxsplit=1)[0].lower() for path in paths]
    splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
    return dict(zip(paths, splits, strict=True)) if len(splits) == len(paths) and len(set(splits)) > 1 else {}


def _tabulate(rows: Sequence[tuple[str, str, _Parts]], reading: Reading) -> Table:
    header = ("image", *_FIELDS)

    def load(positions: Sequence[int]) -> list[list[object]]:
        def cell(key: str, part: _Parts, name: str) -> object:
            if name == "image":
                return part.image
            return part.cells.get(name, key if name == "sample_id" else None)

        return [[cell(key, part, header[position]) for _, key, part in rows] for position in positions]

    def place(row: int) -> str:
        tar, key, _ = rows[row]
        return f"{tar}, sample {quoted(key)}"

    return Table(rows[0][0], header, load, place=place, reading=reading)


def _read_tar(path: Path, faults: _Faults) -> dict[str, _Parts]:
    """Match the members of one tar by key; keys without picture and caption are left out."""
    found: dict[str, _Parts] = {}
    try:
        with open_regular(str(path)) as file:
            if file.read(5).startswith(_COMPRESSED):
                raise ManifestError(f"{quoted(str(path))} is compressed, expected a plain tar: decompress it first")
            for member in walk_members(file, os.fstat(file.fileno()).st_size):
                for fault in _add_member(found, member, file, path):
                    faults.add(f"{path.name}, member {quoted(member.name)}: {fault}")
    except FileNotFoundError:
        raise
    except tarfile.ReadError as error:
        faults.add(f"{path.name}: the tar {error}")
    except OSError as error:
        faults.add(f"{path.name}: the tar cannot be read ({quoted(str(error))})")
    for key, part in found.items():
        if part.image is None and part.other is not None:
            reason = f"expected a picture named like {quoted(key + '.jpg')}, found {quoted(part.other)} only"
        elif part.image is None and part.roles and "caption" not in part.cells:
            reason = "found neither picture nor caption"
        else:
            continue
        faults.add(f"{path.name}, sample {quoted(key)}: {reason}")
    return {key: part for key, part in found.items() if part.image is not None or "caption" in part.cells}


def _add_member(found: dict[str, _Parts], member: TarMember, file: BinaryIO, path: Path) -> Iterator[str]:
    """Add a member to its key, and give what is wrong with it."""
    if member.fault is not None:
        yield member.fault
        return
    *folders, base = member.name.removeprefix("./").split("/")
    stem, _, extension = base.partition(".")
    if not stem or any(part.startswith(".") for part in folders):
        return
    key = "/".join((*folders, stem))
    role = _ROLES.get(extension.lower())
    if role is None:
        if _ROLES.get(extension.lower().rpartition(".")[2]) == "image":
            found.setdefault(key, _Parts()).other = member.name
        return
    if not key.strip():
        yield "expected a name with a key, found blanks"
        return
    part = found.setdefault(key, _Parts())
    if role in part.roles:
        yield f"sample {quoted(key)} has another {role} before it, which is used"
        return
    part.roles += (role,)
    if role == "image":
        part.image = TarImage(str(path), member.offset, member.size, member.name)
    else:
        try:
            _add_sidecar(part.cells, role, _read_sidecar(file, member))
        except (ValueError, RecursionError) as error:
            yield f"the {role} cannot be read ({str(error)[:200]})"


def _read_sidecar(file: BinaryIO, member: TarMember) -> bytes:
    if member.size > _SIDECAR_LIMIT:
        raise ValueError(f"expected at most {_SIDECAR_LIMIT} bytes, found {member.size:.6g}")
    file.seek(member.offset)
    data = file.read(max(0, member.size))
    if len(data) != member.size:
        raise ValueError(f"expected {member.size} bytes, the tar ends after {len(data)}")
    return data


def _add_sidecar(cells: dict[str, object], role: str, data: bytes) -> None:
    """Take the cells of a caption, a class or a metadata object, by precedence and not by order.

    Raises
    ------
    ValueError
        The data are not what the role demands.
    """
    if role == "caption":
        caption: object = decode_caption(data)
        if caption is not None:
            cells["caption"] = caption
    elif role == "class":
        text = data.decode("utf-8-sig").strip()
        if not re.fullmatch(r"(-1|[0-9]{1,9})?", text) and verdict_of(text) is None:
            raise ValueError(f"expected a whole number, found {quoted(text)}")
        cells.setdefault("label_b", text or None)
    else:
        row = parse_object(data)
        known = {name: value for name, value in row.items() if name.lower() in _FIELDS and value is not None}
        values = {name.lower(): value for name, value in known.items()}
        if len(values) != len(known):
            raise ValueError(f"expected keys that differ not by case alone, found {quoted(sorted(known))}")
        caption = values.pop("caption", None)
        cells.update(values)
        if isinstance(caption, str | float):
            caption = parse_cell("caption", caption, TODAY)
        if caption is not None:
            cells.setdefault("caption", caption)
