"""The list of samples: what a user names, read once into typed rows."""

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from featcache.dataset.overview import ClassCount, overview
from featcache.dataset.readers import (
    ct2,
    folders,
    hub,
    image_folder,
    location,
    narrow,
    parquet,
    parquet_set,
    sidecars,
    text_files,
    webdataset,
)
from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.columns import parse_columns, write_columns
from featcache.dataset.readers.left_out import Gap, LeftOut
from featcache.dataset.readers.outcome import OnOrphan, Parsed
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.dataset.readers.table import Table
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.files.picture_formats import ENDINGS, UNREAD_ENDINGS
from featcache.identity.terms import Content

__all__ = ["Manifest"]

_SAID = frozenset(sidecars.OBJECT_FIELDS)


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
    orphans : tuple of Gap
        What was left out under ``on_orphan="skip"``.
    broken : tuple of Gap
        Parts of the source that are damaged or refused: what they would have given is missing.
    notes : tuple of str
        Lines that the user should see once: about labels, captions and columns.
    left_out : tuple of LeftOut
        What looks like a picture and is not taken, by reason.
    reading : Reading
        By which rules it was read, and what was stated about labels, columns and paths.
    is_loose : bool
        Whether it is to be judged, not fitted on (`featcache.dataset.loose`): no sample has a label, or gets a split.
    passed_over : mapping of str to int
        Of a folder to be judged, how many files and links are no pictures, by ending and the like.
    """

    name: str
    origin: str
    samples: SampleList
    generators: tuple[str, ...]
    orphans: tuple[Gap, ...]
    broken: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    reading: Reading = TODAY
    is_loose: bool = False
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_source(
        cls,
        data: str | Path,
        *,
        on_orphan: Literal["error", "skip"] = "error",
        name: str | None = None,
        labels: str | None = None,
        columns: str | None = None,
        root: str | Path | None = None,
        splits: str | None = None,
        earlier: Callable[[str], Reading | None] | None = None,
        contents: Collection[Content] | None = None,
    ) -> "Manifest":
        """Read what `data` names.

        A string ``hf:NAME[@revision]`` is read through `datasets`. A folder with one manifest file directly
        in it stands for that file, and one whose folders of splits have such tables of metadata for these
        (`featcache.dataset.readers.image_folder`); another folder is read as Parquet files, if it has any and neither
        pictures nor tars, else as class folders or caption sidecars (`featcache.dataset.readers.folders`). A pattern
        (``data/train-*.parquet``) stands for Parquet files too. A .tar file, a range of them
        (``train-{000..012}.tar``) and a folder of nothing else are a WebDataset
        (`featcache.dataset.readers.webdataset`). Another file is read by its ending; a table whose header has one
        column of pictures per generator is the competition's wide layout (`featcache.dataset.readers.ct2`).

        Parameters
        ----------
        data : str or Path
            The source, in one of the forms above.
        on_orphan : {"error", "skip"}
            What to do about a named file that is not there and a sidecar without its picture.
        name : str, optional
            The data set's name; by default the stem of the file, its folder's name where the stem says
            nothing (manifest, data, train, ...), the folder's own name, or the repository with "--" for "/".
            Characters that are not safe in a file name become "-".
        labels : str, optional
            What the data's values or folders mean: ``1=real,0=ai``, ``midjourney=ai``, ``*=ai`` (all others),
            ``none`` (there are no labels), ``auto`` (as the data say, by the rules of today).
        columns : str, optional
            Which columns mean what: ``image=filename,caption=text``; the others are found by their names. Of pictures
            in folders and tars, keys of the objects beside them.
        root : str or Path, optional
            A folder below which the pictures of a table are, however their paths begin: those of another machine.
        splits : str, optional
            What names of splits mean, in the column of a table, the key of an object or on the hub: ``holdout=test``;
            ``auto``: nothing is said.
        earlier : callable, optional
            Gives how the data set of a name was read before, so that it is read so again
            (`featcache.extraction.survey.reading.read_before`); by default none was.
        contents : collection of {"text", "image"}, optional
            What samples are wanted for, where nothing else of them is: labels, splits and groups are not read then,
            so that none of their rules can be broken, nor are caption files unless ``text`` is wanted. Default:
            everything is read.

        Raises
        ------
        ManifestError
            `data` is none of the accepted forms, or breaks a rule of its form.
        """
        if isinstance(data, str) and data.startswith("hf:"):
            path, title = None, name or hub.name_of(data)
        else:
            path = location.locate(data)
            title = name or location.name_of(path)
        safe = location.safe_name(title)
        before = (earlier(safe) if earlier else None) or TODAY
        if path is not None and before.rules == 1:
            path = location.as_before(data, path)
        if path is not None and not location.has_columns(path, before):
            before = _without_table(before, path, columns, root)
        reading, notes = _state(before, labels if contents is None else "none", columns, root, splits)
        if path is None:
            table = hub.read_hub(str(data), reading)
            origin, parsed = table.origin, _parse_table(table, on_orphan, contents)
        else:
            origin, parsed = str(path), _read(path, on_orphan, reading, contents)
            is_known = path.is_file() or reading.rules > 1
            if contents is None and is_known and not reading.root and location.is_image_folder(data, path):
                folder = path if path.is_dir() else path.parent
                left = image_folder.leave_unnamed(folder, parsed.samples, is_early=reading.rules == 1)
                parsed = parsed._replace(left_out=left)
        return cls(safe, origin, *parsed._replace(notes=notes + parsed.notes), reading=reading)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """All of which there is no sample: what is not there, what is damaged, and what is not taken."""
        odd = (Gap(f"{left.root}/{name}", left.reason) for left in self.left_out for name in left.names)
        return (*self.orphans, *self.broken, *odd)

    @property
    def overview(self) -> tuple[ClassCount, ...]:
        """What was read: samples by split and class, with an example of each."""
        return overview(self.samples, self.origin)


def _without_table(before: Reading, path: Path, columns: str | None, root: str | Path | None) -> Reading:
    """Forget what a table of this name had in the place of pictures in a folder or in tars, and refuse it for them."""
    if root is not None:
        raise ManifestError(f"--root: {str(path)!r} is no table, nor hf:NAME: leave the option out")
    if columns is not None and before.rules < 3:
        what = "this cache has it from an earlier version, which read no keys of .json beside pictures by other names"
        raise ManifestError(f"--column {quoted(columns)}: {what}: another --name reads it anew")
    is_known = before.rules > 2 and location.has_objects(path) and parse_columns(before.columns).keys() <= _SAID
    known = (before.columns, before.splits) if is_known else ("", "")
    return replace(before, columns=known[0], root="", splits=known[1])


def _state(
    before: Reading, labels: str | None, columns: str | None, root: str | Path | None, splits: str | None
) -> tuple[Reading, tuple[str, ...]]:
    """Add what the user says to how the data were read before, and tell what goes on as it was."""
    reading, notes = before, []
    if labels is not None:
        reading = reading.state(labels)
    elif before.labels:
        notes.append(f"labels as stated before: {before.labels} (--labels auto: as the data say)")
    if columns is not None:
        reading = replace(reading, columns=write_columns(parse_columns(columns)))
    elif before.columns:
        notes.append(f"columns as named before: --column {shlex.quote(before.columns)}")
    if root is not None:
        reading = replace(reading, root=str(Path(root).absolute()))
    elif before.root:
        notes.append(f"pictures below the folder that was named before: --root {shlex.quote(before.root)}")
    if splits is not None:
        reading = reading.state_splits(splits)
    elif before.splits:
        notes.append(f"splits as stated before: --splits {shlex.quote(before.splits)}")
    return reading, tuple(notes)


def _read(path: Path, on_orphan: OnOrphan, reading: Reading, contents: Collection[Content] | None) -> Parsed:
    """Read a file or folder, a range of tars, or a pattern."""
    if tars := location.find_tars(path):
        return webdataset.read_tars(tars, on_orphan=on_orphan, reading=reading, contents=contents)
    if reading.rules > 1 and (files := image_folder.find_metadata(path, reading)):
        return _parse_table(image_folder.read_image_folder(files, path, reading=reading), on_orphan, contents)
    parquets, folder = location.find_parquets(path)
    if parquets:
        table, notes = parquet_set.read_parquet_set(parquets, folder, reading=reading)
        parsed = _parse_table(table, on_orphan, contents)
        return parsed._replace(notes=notes + parsed.notes)
    if path.is_dir():
        return folders.read_folder(path, on_orphan=on_orphan, reading=reading, contents=contents)
    return _parse_table(replace(_read_table(path), reading=reading), on_orphan, contents)


def _parse_table(table: Table, on_orphan: OnOrphan, contents: Collection[Content] | None) -> Parsed:
    wide = ct2.match_wide(table)
    if wide is None:
        return narrow.parse_table(table, on_orphan=on_orphan, contents=contents)
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
    if path.suffix.lower() in ENDINGS | UNREAD_ENDINGS:
        raise ManifestError(f"{str(path)!r} is a single picture: name its folder, or a table with a row for it")
    raise ManifestError(f"{str(path)!r} has an ending that is not read, expected {location.ACCEPTED}")
