"""The list of samples: what a user names, read once into typed rows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from featcache.dataset.readers import ct2, folders, hub, location, narrow, parquet, parquet_set, text_files, webdataset
from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.missing import settle_captions
from featcache.dataset.readers.outcome import OnOrphan, Parsed
from featcache.dataset.readers.table import Table
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.identity.reading import NEWEST, RULES, Reading

__all__ = ["Manifest"]


@dataclass(frozen=True)
class Manifest:
    """All samples of one data set.

    Attributes
    ----------
    name : str
        The data set's name, safe as a file name: [A-Za-z0-9._-], no leading dot, at most 80 characters.
    origin : str
        The resolved absolute path, or an "hf:..." string.
    samples : SampleList
        A sequence of `Sample`, in the order of the source.
    generators : tuple of str
        The class names of task B in their order, without "real".
    orphans : tuple of str
        One line for each thing that was left out under ``on_orphan="skip"``.
    broken : tuple of str
        One line for each part of the source that is damaged or refused: what it would have given is missing.
    notes : tuple of str
        Lines that the user should see once: what was not read, and what was taken for something.
    reading : Reading
        How it was read, as a cache records it.
    """

    name: str
    origin: str
    samples: SampleList
    generators: tuple[str, ...]
    orphans: tuple[str, ...]
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reading: Reading = NEWEST

    @classmethod
    def from_source(
        cls,
        data: str | Path,
        *,
        on_orphan: Literal["error", "skip"] = "error",
        name: str | None = None,
        columns: Mapping[str, str] | None = None,
        root: str | Path | None = None,
        rules: int = RULES,
    ) -> "Manifest":
        """Read what `data` names.

        A string ``hf:NAME[@revision]`` is read through `datasets`. A folder with one manifest file directly
        in it stands for that file; another folder is read as Parquet files, if it has any and neither pictures nor
        tars, else as class folders or caption sidecars (`featcache.dataset.readers.folders`). A pattern
        (``data/train-*.parquet``) stands for Parquet files too. A .tar file, a range of them
        (``train-{000..012}.tar``) and a folder of nothing else are a WebDataset
        (`featcache.dataset.readers.webdataset`). Another file is read by its ending; a table whose header has one
        column of pictures per generator is the competition's wide layout (`featcache.dataset.readers.ct2`).

        Parameters
        ----------
        data : str or Path
            What to read.
        on_orphan : {"error", "skip"}
            What to do about a named file that is not there and a sidecar without its picture.
        name : str, optional
            The data set's name; by default the stem of the file, its folder's name where the stem says
            nothing (manifest, data, train, ...), the folder's own name, or the repository with "--" for "/".
            Characters that are not safe in a file name become "-".
        columns : mapping of str to str, optional
            Names of columns by what they mean (image, caption, label_a, label_b, generator, split, sample_id, group,
            origin); the others are found by their names.
        root : str or Path, optional
            A folder below which the pictures of a table are, however their paths begin: those of another machine.
        rules : int
            The rules by which a cache has read the data set before, so that its samples stay what they are:
            `featcache.cache.requests.reading_rules` tells them.

        Raises
        ------
        ManifestError
            `data` is none of the accepted forms, or breaks a rule of its form.
        """
        named, base = dict(columns or {}), None if root is None else str(Path(root).absolute())
        if isinstance(data, str) and data.startswith("hf:"):
            table = hub.read_hub(data, named)
            origin = table.origin
            parsed = _parse(replace(table, root=base), on_orphan)
        else:
            path = location.locate(data)
            origin = str(path)
            parsed = _read(path, on_orphan, named, base)
        parsed = settle_captions(parsed, rules)
        return cls(cls.name_of(data, name), origin, *parsed, reading=Reading(rules, tuple(named.items()), base))

    @staticmethod
    def name_of(data: str | Path, name: str | None = None) -> str:
        """Return the name that the data set gets, without reading it.

        Raises
        ------
        ManifestError
            There is nothing of this name.
        """
        if name is None and isinstance(data, str) and data.startswith("hf:"):
            name = hub.name_of(data)
        return location.safe_name(name or location.name_of(location.locate(data)))


def _read(path: Path, on_orphan: OnOrphan, named: Mapping[str, str], root: str | None) -> Parsed:
    """Read a file or folder, a range of tars, or a pattern of Parquet files."""
    if tars := location.find_tars(path):
        _refuse_columns(path, "tars", named, root)
        return webdataset.read_tars(tars, on_orphan=on_orphan)
    parquets, folder = location.find_parquets(path)
    if parquets:
        return _parse(replace(parquet_set.read_parquet_set(parquets, folder, named=named), root=root), on_orphan)
    if path.is_dir():
        _refuse_columns(path, "a folder of pictures", named, root)
        return folders.read_folder(path, on_orphan=on_orphan)
    return _parse(replace(_read_table(path), named=named, root=root), on_orphan)


def _refuse_columns(path: Path, what: str, named: Mapping[str, str], root: str | None) -> None:
    """Refuse what is said of columns and paths where there are none."""
    if named or root is not None:
        option = "--root" if root is not None else f"--column {quoted('='.join(next(iter(named.items()))))}"
        raise ManifestError(f"{option}: {str(path)!r} is {what}, expected a table (or hf:NAME): leave the option out")


def _parse(table: Table, on_orphan: OnOrphan) -> Parsed:
    wide = ct2.match_wide(table)
    if wide is None:
        return narrow.parse_table(table, on_orphan=on_orphan)
    return ct2.parse_wide(table, wide, on_orphan=on_orphan)


def _read_table(path: Path) -> Table:
    match path.suffix.lower():
        case ".csv":
            return text_files.read_csv(path, delimiter=",")
        case ".tsv":
            return text_files.read_csv(path, delimiter="\t")
        case ".json":
            return text_files.read_json(path)
        case ".jsonl" | ".ndjson":
            return text_files.read_jsonl(path)
        case ".parquet":
            return parquet.read_parquet(path)
        case ".xlsx":
            return ct2.read_xlsx(path)
    if re.search(r"\.(t[bgx]z2?|tzst|tar\.\w+)$", path.name.lower()):
        raise ManifestError(f"{str(path)!r} is compressed, expected a plain .tar: decompress it first")
    raise ManifestError(f"{str(path)!r} has an ending that is not read, expected {location.ACCEPTED}")
