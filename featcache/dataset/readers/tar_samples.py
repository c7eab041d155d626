"""What one tar holds, matched by key: pictures stay where they are, captions and metadata are read."""

import os
import re
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from featcache.dataset.readers.archive import TarMember, walk_members
from featcache.dataset.readers.cells import decode_caption, quoted, quoted_path
from featcache.dataset.readers.left_out import Gap, LeftOut, Sieve
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.sidecars import SIDECAR_LIMIT, ObjectReader, choose_caption
from featcache.dataset.readers.words import verdict_of
from featcache.errors import ManifestError
from featcache.files.picture_formats import HEAD_BYTES
from featcache.files.regular import open_regular

__all__ = ["TarImage", "TarParts", "TarReader"]

_ROLES = {"txt": "txt", "caption": "caption", "json": "metadata", "cls": "class"}
_FAULT_LIMIT = 100
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_FURTHER = "their endings have several parts, and their samples another picture, which is taken"


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
class TarParts:
    """What one tar holds under one key.

    Attributes
    ----------
    image : TarImage or None
        The picture.
    cells : dict of str to object
        What is said of the sample, by field.
    captions : dict of str to object
        Captions by the role of their member.
    roles : tuple of str
        What members there are.
    others : list of str
        Pictures whose ending has several parts.
    """

    image: TarImage | None = None
    cells: dict[str, object] = field(default_factory=dict)
    captions: dict[str, object] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    others: list[str] = field(default_factory=list)


class _Faults:
    """What could not be read; lines about one tar are bounded in number."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self._count = 0

    def add(self, tar: Path, line: str, member: str = "") -> None:
        self._count += 1
        if self._count <= _FAULT_LIMIT:
            self.gaps.append(Gap(f"{tar} {member}" if member else str(tar), line))

    def end_tar(self, tar: Path) -> None:
        if self._count > _FAULT_LIMIT:
            self.gaps.append(Gap(str(tar), f"{tar.name}: and {self._count - _FAULT_LIMIT} more"))
        self._count = 0


class TarReader:
    """Reads tars, each once and by its headers, and keeps account of what cannot be read and of what is not taken.

    Parameters
    ----------
    reading : Reading
        By which rules.
    root : str
        The folder that all of them are in or below.
    """

    def __init__(self, reading: Reading, root: str) -> None:
        self._faults = _Faults()
        self._objects = ObjectReader(reading)
        self._rules = reading.rules
        self._sieve = Sieve(reading.rules == 1, root)

    @property
    def broken(self) -> tuple[Gap, ...]:
        """Lines about what is damaged: at most 100 a tar, and their count."""
        return tuple(self._faults.gaps)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What looks like a picture and is not taken."""
        return self._sieve.left_out

    def describe(self, origin: str, known: Collection[str]) -> tuple[str, ...]:
        """Say what the user should know about the metadata that were read (`ObjectReader.describe`).

        Raises
        ------
        ManifestError
            No object has a key that the user names.
        """
        return self._objects.describe(origin, known)

    def read(self, path: Path) -> dict[str, TarParts]:
        """Match the members of one tar by key; keys without picture and caption are left out.

        Raises
        ------
        FileNotFoundError
            There is no such tar.
        ManifestError
            It is compressed.
        """
        found: dict[str, TarParts] = {}
        try:
            with open_regular(str(path)) as file:
                if file.read(5).startswith(_COMPRESSED):
                    raise ManifestError(f"{quoted_path(path)} is compressed, expected a plain tar: decompress it first")
                for member in walk_members(file, os.fstat(file.fileno()).st_size):
                    for fault in self._add(found, member, file, path):
                        self._faults.add(path, f"{path.name}, member {quoted(member.name)}: {fault}", member.name)
        except FileNotFoundError:
            raise
        except tarfile.ReadError as error:
            self._faults.add(path, f"{path.name}: the tar {error}")
        except OSError as error:
            self._faults.add(path, f"{path.name}: the tar cannot be read ({quoted(str(error))})")
        for key, part in found.items():
            self._settle(path, key, part)
        self._faults.end_tar(path)
        return {key: part for key, part in found.items() if part.image is not None or "caption" in part.cells}

    def _settle(self, path: Path, key: str, part: TarParts) -> None:
        """Account for the pictures of a key that are not taken, each by itself, and for a key that gives nothing."""
        where = f"{path.name}, sample {quoted(key)}"
        texts = [part.captions.get(role) for role in ("txt", "caption")]
        captions = self._objects.in_order(texts, part.captions.get("metadata"))
        there = (caption for caption in captions if caption is not None)
        if (caption := choose_caption(there) if self._rules > 2 else next(there, None)) is not None:
            part.cells["caption"] = caption
        for name in part.others:
            if part.image is not None:
                self._sieve.leave(self._named(path, name), _FURTHER)
            else:
                expected = f"expected a picture named like {quoted(key + '.jpg')}"
                line = f"{where}: {expected}, found {quoted(name)}: its key ends at the first dot"
                self._faults.add(path, line, name)
        if part.image is None and not part.others and part.roles and "caption" not in part.cells:
            self._faults.add(path, f"{where}: found neither picture nor caption", key)

    def _add(self, found: dict[str, TarParts], member: TarMember, file: BinaryIO, path: Path) -> Iterator[str]:
        """Add a member to its key, and give what is wrong with it."""
        if member.fault is not None:
            yield member.fault
            return
        *folders, base = member.name.removeprefix("./").split("/")
        stem, _, extension = base.partition(".")
        if not stem or any(part.startswith(".") for part in folders):
            return
        key = "/".join((*folders, stem))
        role = _ROLES.get(extension.lower()) or self._picture_role(member, extension, file, path)
        if role == "other":
            found.setdefault(key, TarParts()).others.append(member.name)
        if role in (None, "other"):
            return
        if role == "txt" and self._rules < 3:  # the first of both was used
            role = "caption"
        if not key.strip():
            yield "expected a name with a key, found blanks"
            return
        part = found.setdefault(key, TarParts())
        if role in part.roles:
            yield f"sample {quoted(key)} has another {role} before it, which is used"
            return
        part.roles += (role,)
        if role == "image":
            part.image = TarImage(str(path), member.offset, member.size, member.name)
            return
        try:
            self._add_sidecar(part, role, _read_sidecar(file, member))
        except (ValueError, RecursionError) as error:
            yield f"the {role} cannot be read ({str(error)[:200]})"

    def _add_sidecar(self, part: TarParts, role: str, data: bytes) -> None:
        """Take the cells of a caption, a class or a metadata object, by precedence and not by order.

        Raises
        ------
        ValueError
            The data are not what the role demands.
        """
        if role in ("txt", "caption"):
            part.captions[role] = decode_caption(data)
        elif role == "class":
            text = data.decode("utf-8-sig").strip()
            if not re.fullmatch(r"(-1|[0-9]{1,9})?", text) and verdict_of(text) is None:
                raise ValueError(f"expected a whole number, found {quoted(text)}")
            part.cells.setdefault("label_b", text or None)
        else:
            cells = self._objects.parse(data)
            caption = cells.pop("caption", None)
            part.cells.update(cells)
            part.captions[role] = self._objects.check_caption(caption)

    def _named(self, path: Path, member: str) -> str:
        """Name a member by its tar, below the folder that all tars are in."""
        return f"{path.relative_to(self._sieve.root)}/{member}"

    def _picture_role(self, member: TarMember, extension: str, file: BinaryIO, path: Path) -> str | None:
        """Return ``image`` for a picture that is taken, ``other`` for one of an ending of several parts, else None."""
        name = self._named(path, member.name)
        is_taken = self._sieve.takes(name)
        if is_taken is None and not extension:
            file.seek(member.offset)
            is_taken = self._sieve.takes_bytes(name, file.read(min(HEAD_BYTES, member.size)))
        return None if not is_taken else "other" if "." in extension else "image"


def _read_sidecar(file: BinaryIO, member: TarMember) -> bytes:
    if member.size > SIDECAR_LIMIT:
        raise ValueError(f"expected at most {SIDECAR_LIMIT} bytes, found {member.size:.6g}")
    file.seek(member.offset)
    data = file.read(max(0, member.size))
    if len(data) != member.size:
        raise ValueError(f"expected {member.size} bytes, the tar ends after {len(data)}")
    return data
