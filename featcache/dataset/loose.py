"""Data that are to be judged, and of which nothing need be known: every picture is a sample."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.cells import escape_surrogates, quoted
from featcache.dataset.readers.folders import parse_tree, read_folder
from featcache.dataset.readers.left_out import Gap, Sieve, kind_of, read_head
from featcache.dataset.readers.location import has_columns, locate, safe_name
from featcache.dataset.readers.outcome import Parsed
from featcache.dataset.readers.reading import TODAY
from featcache.dataset.readers.tree import SIDECARS, Tree, stem_of
from featcache.dataset.sample import ImageFile
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.files.picture_formats import ENDINGS, format_of_bytes
from featcache.identity.terms import Content

__all__ = ["is_loose_name", "read_pictures"]

_LOOSE = TODAY.state("none")
_NAME_LENGTH = 64


def read_pictures(data: str | Path | Sequence[str | Path], *, contents: Collection[Content]) -> Manifest:
    """Read what is to be judged: every picture is a sample, without label, split or group.

    Takes what `Manifest.from_source` takes, the file of a picture, and a list of such files. Of a folder with tables
    the pictures that no row names are samples too; where the tables cannot be read all its pictures are, with a note.
    Names that are not UTF-8 are taken, and have backslashes in ids. What is named and not there is left out
    (`Manifest.gaps`).

    Parameters
    ----------
    data : str or Path, or sequence of these
        The source; of several files each is a picture, and taken once.
    contents : collection of {"text", "image"}
        What is wanted: captions are read only if ``text`` is.

    Returns
    -------
    Manifest
        Its name is one that data of another origin do not have (`is_loose_name`).

    Raises
    ------
    ManifestError
        The data are none of the accepted forms, or have no pictures.
    """
    if not isinstance(data, str | Path):
        return _as_loose(_read_list([Path(each) for each in data], contents))
    path = None if isinstance(data, str) and data.startswith("hf:") else Path(data).absolute()
    if path is not None and _is_picture(path):
        found = Manifest(path.stem, str(path), *_read_picture(path, contents))
    elif path is not None and path.is_file() and (reason := _why_not_taken(path)):
        raise ManifestError(f"{quoted(str(data))} is no picture that can be taken: {reason}")
    elif path is not None and path.is_dir():
        # By the folder and not by a table in it, so that all of it is found again.
        found = replace(_read_folder(path.resolve(), contents), origin=str(path.resolve()))
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
    """Whether a file is a picture by its ending, or by its first bytes if it has none."""
    if not path.is_file():
        return False
    ending = kind_of(path.name)
    return ending in ENDINGS or (not ending and format_of_bytes(read_head(str(path))) is not None)


def _why_not_taken(path: Path) -> str | None:
    """Say why a file that looks like a picture is not taken; None: it does not."""
    sieve = Sieve(is_early=False, root=str(path.parent))
    if sieve.takes(path.name) is None:
        sieve.takes_bytes(path.name, read_head(str(path)))
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


def _read_folder(folder: Path, contents: Collection[Content]) -> Manifest:
    """Read a folder by the tables in it, and the pictures that they do not name."""
    try:
        found = Manifest.from_source(folder, on_orphan="skip", contents=contents)
    except ManifestError as error:
        try:
            parsed = _read_tree(folder, contents)
        except ManifestError:
            raise error from None
        note = f"no table in {quoted(str(folder))} is read: {error}"
        return Manifest(folder.name, str(folder), *parsed._replace(notes=(note,)))
    return _add_unnamed(folder, found, contents) if has_columns(locate(folder)) else found


def _read_tree(folder: Path, contents: Collection[Content]) -> Parsed:
    return read_folder(folder, on_orphan="skip", reading=_LOOSE, contents=contents)


def _add_unnamed(folder: Path, found: Manifest, contents: Collection[Content]) -> Manifest:
    try:
        rest = _read_tree(folder, contents)
    except ManifestError:  # there are none
        return found
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
        left_out=rest.left_out,
    )
