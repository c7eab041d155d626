"""Data that are to be judged, and of which nothing need be known: every picture is a sample."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.cells import escape_surrogates, quoted_path
from featcache.dataset.readers.folders import parse_tree
from featcache.dataset.readers.inventory import take_inventory
from featcache.dataset.readers.left_out import Gap, Sieve, kind_of, read_head
from featcache.dataset.readers.location import find_tars, safe_name
from featcache.dataset.readers.outcome import Parsed
from featcache.dataset.readers.reading import TODAY
from featcache.dataset.readers.tree import SIDECARS, Tree, describe, stem_of
from featcache.dataset.readers.webdataset import read_tars
from featcache.dataset.sample import ImageFile
from featcache.dataset.sample_list import SampleList
from featcache.dataset.tables_inside import find_tables, read_tables
from featcache.errors import ManifestError
from featcache.files.picture_formats import ENDINGS
from featcache.identity.terms import Content

__all__ = ["is_loose_name", "read_pictures"]

_LOOSE = TODAY.state("none")
_NAME_LENGTH = 64
_UNUSED = "not used (--tables, in Python tables=True, does)"


def read_pictures(
    data: str | Path | Sequence[str | Path], *, contents: Collection[Content], tables: bool = False
) -> Manifest:
    """Read what is to be judged: every picture is a sample, without label, split or group.

    Takes what `Manifest.from_source` takes, the file of a picture, and a list of such files. Of a folder, which may be
    somebody else's, every file is looked at: a picture is what begins as one, hidden or not and whatever it is called
    (`featcache.dataset.readers.inventory`), and there may be none. Names that are not UTF-8 are taken, and have
    backslashes in ids. What is named and not there is left out (`Manifest.gaps`), what is no picture is counted
    (`Manifest.passed_over`).

    Parameters
    ----------
    data : str or Path, or sequence of these
        The source; of several files each is a picture, and taken once.
    contents : collection of {"text", "image"}
        What is wanted: captions are read only if ``text`` is.
    tables : bool
        Of a folder: read the tables in it too, for names and captions; the pictures that no row names follow. What a
        table names outside of the folder is refused. Where they cannot be read there is a note.

    Returns
    -------
    Manifest
        Its name is one that data of another origin do not have (`is_loose_name`).

    Raises
    ------
    ManifestError
        The data are none of the accepted forms, or have no pictures and are no folder.
    """
    if not isinstance(data, str | Path):
        return _as_loose(_read_list([Path(each) for each in data], contents))
    path = None if isinstance(data, str) and data.startswith("hf:") else Path(data).absolute()
    if path is not None and _is_picture(path):
        found = Manifest(path.stem, str(path), *_read_picture(path, contents))
    elif path is not None and path.is_file() and (reason := _why_not_taken(path)):
        raise ManifestError(f"{quoted_path(data)} is no picture that can be taken: {reason}")
    elif path is not None and path.is_dir():
        # By the folder and not by a table in it, so that all of it is found again.
        found = replace(_read_folder(path.resolve(), contents, tables=tables), origin=str(path.resolve()))
    else:
        found = Manifest.from_source(data, on_orphan="skip", contents=contents)
    return _as_loose(found)


def _as_loose(found: Manifest) -> Manifest:
    origin = escape_surrogates(found.origin)
    name = f"{safe_name(found.name)[:_NAME_LENGTH]}-{_digest(origin)}"
    return replace(found, name=name, origin=origin, reading=_LOOSE, is_loose=True)


def is_loose_name(name: str, origin: str) -> bool:
    """Whether `read_pictures` calls what it reads there so; others have such a name only by chance."""
    return name.endswith(f"-{_digest(origin)}")


def _digest(origin: str) -> str:
    return hashlib.sha256(origin.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _is_picture(path: Path) -> bool:
    """Whether a file is a picture by its ending, or by its first bytes if it has another or none."""
    if not path.is_file():
        return False
    return kind_of(path.name) in ENDINGS or bool(Sieve(False, "").takes_anyhow(path.name, read_head(str(path))))


def _why_not_taken(path: Path) -> str | None:
    """Say why a file that looks like a picture is not taken; None: it does not."""
    sieve = Sieve(is_early=False, root=str(path.parent))
    sieve.takes_anyhow(path.name, read_head(str(path)))
    return next((left.reason for left in sieve.left_out), None)


def _read_list(given: Sequence[Path], contents: Collection[Content]) -> Manifest:
    """Read the files of pictures: each is a sample, called as it is named, whatever it holds.

    A list of captions beside one makes a sample of each, as in a folder.
    """
    paths: dict[Path, Path] = {}
    for path in given:
        paths.setdefault(path.absolute(), path)
    if not paths:
        raise ManifestError("no pictures are named, expected a path or more")
    folder = next((path for path in paths if path.is_dir()), None)
    if folder is not None:
        raise ManifestError(f"{str(folder)!r} is a folder, expected pictures in a list: name a folder by itself")
    samples = [
        replace(sample, sample_id=escape_surrogates(str(name)) + sample.sample_id[len(escape_surrogates(path.name)) :])
        for path, name in paths.items()
        if path.is_file()
        for sample in _read_picture(path, contents).samples
    ]
    gaps = tuple(Gap(str(path), "there is no regular file") for path in paths if not path.is_file())
    # There is no one place to read it again from: the name tells this list from others.
    origin = f"{os.path.commonpath(paths)}#{_digest(escape_surrogates(chr(0).join(map(str, paths))))}"
    return Manifest("pictures", origin, SampleList.of(samples), (), gaps)


def _read_picture(path: Path, contents: Collection[Content]) -> Parsed:
    stem = stem_of(path.name)
    beside = {ending: f"{stem}{ending}" for ending in SIDECARS if (path.parent / f"{stem}{ending}").is_file()}
    tree = Tree((path.name,), {stem: beside}, (), has_tars=False, left_out=())
    return parse_tree(path.parent, tree, on_orphan="skip", reading=_LOOSE, contents=contents)


def _read_folder(folder: Path, contents: Collection[Content], *, tables: bool) -> Manifest:
    """Read all pictures of a folder: in tars if there is nothing else, else its files, first those that tables name."""
    inventory = take_inventory(folder)
    found, used, notes = _read_whole(folder, contents, tables=tables)
    deeper = tuple(name for name in inventory.tree.metadata if folder / name not in used)
    tree = replace(inventory.tree, metadata=deeper)
    parsed = parse_tree(folder, tree, on_orphan="tell", reading=_LOOSE, contents=contents)
    rest = Manifest(folder.name, str(folder), *parsed._replace(broken=inventory.broken, notes=notes + parsed.notes))
    others = inventory.without(path.relative_to(folder).as_posix() for path in used).passed_over
    if found is not None:
        return replace(_join(found, rest, folder), passed_over=others)
    return replace(rest, passed_over={"unused table": len(used), **others} if used else others)


def _read_whole(
    folder: Path, contents: Collection[Content], *, tables: bool
) -> tuple[Manifest | None, tuple[Path, ...], tuple[str, ...]]:
    """Read the tars or tables that a folder stands for; returns which these are too, and notes if they are not read."""
    try:
        if tars := find_tars(folder):
            parsed = read_tars(tars, on_orphan="skip", reading=_LOOSE, contents=contents)
            return Manifest(folder.name, str(folder), *parsed), tars, ()
        there = find_tables(folder)
        if there and tables:
            return read_tables(folder, there, contents), there, ()
    except ManifestError as error:
        return None, (), (f"no table or tar in {quoted_path(folder)} is read: {error}",)
    names = [path.relative_to(folder).as_posix() for path in there]
    return None, there, describe(names, f"table is {_UNUSED}", f"tables are {_UNUSED}")


def _join(found: Manifest, rest: Manifest, folder: Path) -> Manifest:
    """Add the pictures of a folder to those that its tables or tars have."""
    paths, ids = set(found.samples.path), set(found.samples.sample_id)
    missing = {gap.path for gap in found.orphans}
    unnamed = (
        replace(sample, sample_id=escape_surrogates(f"{folder}/{sample.sample_id}"))
        if sample.sample_id in ids
        else sample
        for sample in rest.samples
        if isinstance(image := sample.image, ImageFile) and image.path not in paths
    )
    return replace(
        found,
        samples=SampleList.of(chain(found.samples, unnamed)),
        orphans=(*found.orphans, *(gap for gap in rest.orphans if gap.path not in missing)),
        broken=(*found.broken, *rest.broken),
        notes=(*found.notes, *rest.notes),
        left_out=(*found.left_out, *rest.left_out),
    )
