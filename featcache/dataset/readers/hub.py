"""Data sets of the Hugging Face hub, and local copies of them, through the `datasets` library."""

import bisect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.columns import match_columns
from featcache.dataset.readers.ct2 import CT2_GENERATORS
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.table import Table
from featcache.errors import ManifestError
from featcache.files.hub import patience

__all__ = ["HubImage", "name_of", "read_hub"]

_CT2 = "Rajarshi-Roy-research/Defactify_Image_Dataset"
_CT2_NAMES: Mapping[str, object] = {str(i): name for i, name in enumerate(("real", *CT2_GENERATORS))}


@dataclass(frozen=True, slots=True)
class HubImage:
    """A picture in a row of a data set, read when it is needed.

    Attributes
    ----------
    dataset : datasets.Dataset
        Has the one column `column`, of encoded pictures.
    column : str
        Name of the column of pictures.
    row : int
        Its number in the data set, from 0.
    name : str
        What messages call it, such as "hf:org/name train[12]".
    """

    dataset: Any
    column: str
    row: int
    name: str

    def read_bytes(self) -> bytes:
        """Read the encoded picture as it was stored.

        Raises
        ------
        OSError
            The row cannot be read any more.
        """
        import pyarrow as pa

        try:
            return bytes(self.dataset[self.row][self.column]["bytes"])
        except (pa.ArrowException, IndexError) as error:
            raise OSError(f"{self.name}: {error}") from error


def name_of(origin: str) -> str:
    """Give the name of the data set that "hf:NAME[@revision]" names: the folder's, or the repository's."""
    source, _ = _split_revision(origin)
    return Path(source).resolve().name if _is_folder(source) else source.replace("/", "--")


def _split_revision(origin: str) -> tuple[str, str | None]:
    source = origin.removeprefix("hf:")
    if "@" not in source or _is_folder(source):
        return source, None
    source, _, revision = source.rpartition("@")
    return source, revision


def _is_folder(source: str) -> bool:
    return "\0" not in source and Path(source).is_dir()


def read_hub(origin: str, reading: Reading) -> Table:
    """Open a data set of the hub, or a local folder that `datasets` reads.

    A folder that ``save_to_disk`` wrote is loaded as it is. Pictures stay encoded. The names of a ClassLabel
    take the place of its numbers. The data set's splits give the split of a row, unless a column does; splits
    that are none of train, validation and test are unknown, and so is a train split that is the only one. In the
    competition's own data set the numbers of Label_B take the names `CT2_GENERATORS`.

    Parameters
    ----------
    origin : str
        "hf:NAME[@revision]"; NAME is a repository or a folder.
    reading : Reading
        As `Table.reading`.

    Raises
    ------
    ManifestError
        `datasets` is missing, or cannot load the data set.
    """
    source, revision = _split_revision(origin)
    folder = str(Path(source).resolve()) if source and _is_folder(source) else None
    if folder is None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source, re.ASCII):
        raise ManifestError(f"data {quoted(origin)}: expected hf:NAME[@revision], NAME a repository or a folder")
    if folder is not None:
        source, origin = folder, f"hf:{folder}"
    parts = _load_parts(origin, source, revision)
    names = tuple(dict.fromkeys(name for part in parts.values() for name in part.column_names))
    return _tabulate(Table(origin, names, lambda _: [], folder, reading=reading), parts, is_ct2=source == _CT2)


def _load_parts(origin: str, source: str, revision: str | None) -> Mapping[str, Any]:
    """Load a data set's splits by name; "" is the name of a single one without name."""
    try:
        import datasets
    except ImportError as error:
        raise ManifestError(f"{origin}: reading it needs pip install 'featcache[hf]'") from error

    marks = ("dataset_dict.json", "dataset_info.json")
    with patience() as silence:
        try:
            if any(Path(source, mark).is_file() for mark in marks):
                loaded = datasets.load_from_disk(source)
            else:
                loaded = datasets.load_dataset(source, revision=revision)
        except Exception as error:  # what datasets raises offline, for no access or broken files is open-ended
            reason = silence.reason or f"{type(error).__name__}: {error}"
            raise ManifestError(f"{origin} cannot be loaded: {re.sub(r'[^ -~]+', ' ', reason)[:300]}") from error
    return {str(loaded.split or ""): loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)


def _tabulate(table: Table, parts: Mapping[str, Any], *, is_ct2: bool) -> Table:
    """Join the splits, adding the columns split and sample_id where the data set has none."""
    found = match_columns(table)
    starts = list(accumulate((part.num_rows for part in parts.values()), initial=0))
    keys = list(parts)

    def place(row: int) -> str:
        index = bisect.bisect_right(starts, row) - 1
        return f"{table.origin} {keys[index]}[{row - starts[index]}]"

    extra: dict[str, Callable[[str, int], list[object]]] = {}
    split_of = table.reading.split_named
    is_unsplit = [split_of(key) for key in keys] == ["train"]  # the hub's name for data without splits
    if "split" not in found and not is_unsplit:
        extra["split"] = lambda key, n_rows: [key if split_of(key) else None] * n_rows
    if "sample_id" not in found:
        extra["sample_id"] = lambda key, n_rows: [f"{key or 'row'}-{row}" for row in range(n_rows)]
    header = (*table.header, *extra)
    is_numbered = is_ct2 and "label_b" in found

    def load(positions: Sequence[int]) -> list[list[object]]:
        columns: list[list[object]] = [[] for _ in positions]
        for key, part in parts.items():
            for column, position in zip(columns, positions, strict=True):
                name = header[position]
                if position >= len(table.header):
                    column += extra[name](key, part.num_rows)
                    continue
                cells = _cells(part, name, f"{table.origin} {key}")
                column += map(_ct2_name, cells) if is_numbered and position == found["label_b"] else cells
        return columns

    declared = CT2_GENERATORS if is_numbered else _declared(table, found, parts)
    return replace(table, header=header, load=load, place=place, declared=declared)


def _ct2_name(cell: object) -> object:
    return _CT2_NAMES.get(str(cell), cell)


def _declared(table: Table, found: Mapping[str, int], parts: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the class names of a ClassLabel for task B in their own order."""
    position = found.get("label_b", found.get("generator"))
    if position is None:
        return ()
    features = [part.features.get(table.header[position]) for part in parts.values()]
    names = dict.fromkeys(name for feature in features for name in getattr(feature, "names", None) or ())
    return tuple(name for name in names if name.lower() != "real" and not name.lstrip("+-").isdigit())


def _cells(part: Any, column: str, place: str) -> list[object]:
    """Load one column of one split: references to pictures, names of classes, or the plain values."""
    import datasets

    if column not in part.column_names:
        return [None] * int(part.num_rows)
    feature = part.features[column]
    part = part.select_columns([column]).with_format(None)
    if isinstance(feature, datasets.Image):
        return _image_cells(part.cast_column(column, datasets.Image(decode=False)), column, place)
    values = list(part[:][column])
    if isinstance(feature, datasets.ClassLabel):
        return [None if value is None or value < 0 else feature.int2str(value) for value in values]
    return values


def _image_cells(part: Any, column: str, place: str) -> list[object]:
    import pyarrow.compute as pc

    cells: list[object] = []
    for batch in part.with_format("arrow").iter(batch_size=1000):
        # Only whether there are bytes is asked here, so that a memory-mapped data set is not read through.
        held = pc.struct_field(batch.column(column), "bytes").is_valid().to_pylist()
        paths = pc.struct_field(batch.column(column), "path").to_pylist()
        for has_bytes, path in zip(held, paths, strict=True):
            row = len(cells)
            cells.append(HubImage(part, column, row, f"{place}[{row}]") if has_bytes else path)
    return cells
