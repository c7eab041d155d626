"""WebDataset tars: the members of one key are one sample; pictures stay in the tar and are read by seeking."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from featcache.dataset.readers.cells import quoted, quoted_path
from featcache.dataset.readers.folder_labels import label_by_folders
from featcache.dataset.readers.left_out import Gap
from featcache.dataset.readers.narrow import parse_table
from featcache.dataset.readers.outcome import OnOrphan, Parsed, settle_orphans
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.sidecars import OBJECT_FIELDS
from featcache.dataset.readers.table import Table, more_rows
from featcache.dataset.readers.tar_samples import TarParts, TarReader
from featcache.errors import ManifestError
from featcache.identity.terms import Content

__all__ = ["read_tars"]


def read_tars(
    paths: Sequence[Path], *, on_orphan: OnOrphan, reading: Reading, contents: Collection[Content] | None = None
) -> Parsed:
    """Read tars in the given order, each once and by its headers; only captions, labels and metadata are loaded.

    The key of a member is its name up to the first dot of the last part; what follows is its extension, in which
    case does not count. A picture has the extension jpg, png, webp, …, or none and the first bytes of one; ``txt``,
    ``caption`` and ``json`` have the caption, in this precedence; ``cls`` is label_b (a whole number, 0 for real
    pictures, or a word for them or AI pictures); ``json`` is an object of which caption (or text, or prompt), label_a,
    label_b, generator, split, group, origin (or source) and sample_id count
    (`featcache.dataset.readers.sidecars.ObjectReader`). Its label_b goes before ``cls``. Other members are ignored, and
    hidden ones. The sample's id is its key unless the object has another.

    Where several tars are all named like splits (train-000.tar, val-000.tar) and not all like the same one, a tar
    gives the split of its samples that have none. Where no sample has a label of its own, the folders in the keys give
    labels and splits by the rules of folders on disk (`featcache.dataset.readers.layout`). With ``contents`` labels,
    splits and groups count nowhere.

    What is damaged is left out and named in `Parsed.broken`: at most 100 lines a tar, and their count.

    Raises
    ------
    ManifestError
        A tar is compressed, no sample is left, or values break a rule of tables (`narrow.parse_table`), among them
        that ids are unique over all tars.
    """
    root = os.path.commonpath([path.parent for path in paths])
    reader = TarReader(reading, root)
    orphans: list[Gap] = []
    rows: list[tuple[str, str, TarParts]] = []
    splits = _split_by_tar(paths, reading)
    for path in paths:
        try:
            parts = reader.read(path)
        except FileNotFoundError:
            orphans.append(Gap(str(path), f"there is no file {quoted_path(path)}"))
            continue
        for key, part in parts.items():
            if path in splits:
                part.cells.setdefault("split", splits[path])
            rows.append((path.name, key, part))
    settle_orphans(orphans, len(rows), on_orphan)
    if not rows:
        refused = [gap.message for gap in reader.broken]
        refused += [f"{each.names[0]}: {each.reason}" for each in reader.left_out]
        reason = refused[0] if refused else "expected members named like pictures or captions, found none"
        raise ManifestError(f"no samples in {quoted_path(paths[0])}{more_rows(len(paths), 'tar')}: {reason}")
    left, notes = reading, tuple[str, ...]()
    if contents is None:
        known = {name for _, _, part in rows for name, cell in part.cells.items() if cell is not None}
        said = reader.describe(f"{rows[0][0]}{more_rows(len(paths), 'tar')}", known)
        left, notes = label_by_folders(rows[0][0], [(key, part.cells) for _, key, part in rows], reading)
        notes = said + notes
    table = _tabulate(rows, replace(left, columns=""))
    parsed = parse_table(table, on_orphan=on_orphan, contents=contents)
    return parsed._replace(
        orphans=tuple(orphans), broken=reader.broken, notes=notes + parsed.notes, left_out=reader.left_out
    )


def _split_by_tar(paths: Sequence[Path], reading: Reading) -> dict[Path, str]:
    """Give the split that each tar is named after, if all are and they differ."""
    words = (re.split(r"[-_.]", path.name, maxsplit=1)[0] for path in paths)
    splits = {path: split for path, word in zip(paths, words, strict=True) if (split := reading.split_of(word))}
    return splits if len(splits) == len(paths) and len(set(splits.values())) > 1 else {}


def _tabulate(rows: Sequence[tuple[str, str, TarParts]], reading: Reading) -> Table:
    header = ("image", *OBJECT_FIELDS)

    def load(positions: Sequence[int]) -> list[list[object]]:
        def cell(key: str, part: TarParts, name: str) -> object:
            if name == "image":
                return part.image
            return part.cells.get(name, key if name == "sample_id" else None)

        return [[cell(key, part, header[position]) for _, key, part in rows] for position in positions]

    def place(row: int) -> str:
        tar, key, _ = rows[row]
        return f"{tar}, sample {quoted(key)}"

    return Table(rows[0][0], header, load, place=place, reading=reading, has_texts=True)
