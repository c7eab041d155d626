"""Tables with one picture a row become samples."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from featcache.dataset.readers.caption_lists import unpack_lists
from featcache.dataset.readers.cells import FIELDS, LABELS, Captions, quoted, quoted_path
from featcache.dataset.readers.columns import describe_unread, listed, load_origins, match_columns, without_labels
from featcache.dataset.readers.inverted import check_inverted
from featcache.dataset.readers.labels import describe_labels, join_labels
from featcache.dataset.readers.left_out import Gap
from featcache.dataset.readers.outcome import (
    MissingWords,
    OnOrphan,
    Parsed,
    check_unique,
    find_image,
    settle_orphans,
)
from featcache.dataset.readers.rebase import rebase
from featcache.dataset.readers.table import Table, load_columns, refuse_rows
from featcache.dataset.sample import ImageFile, Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.identity.terms import Content

__all__ = ["parse_table"]


def parse_table(table: Table, *, on_orphan: OnOrphan, contents: Collection[Content] | None = None) -> Parsed:
    """Turn a narrow table into samples, one a row, or one a caption where a cell holds a list of them.

    Without a sample_id column the image paths serve as ids if every row has one and no two are equal, else
    `Table.default_id`. The samples of a list are called ID#0, ID#1, …, and are of one group. With ``contents`` labels,
    splits and groups are not read, and a list of captions makes one sample unless ``text`` is among them.

    Raises
    ------
    ManifestError
        The table breaks a rule; the message names file, row and column of the first offender and the count.
    """
    if contents is not None:
        table = without_labels(table)
    matched = match_columns(table)
    found = _settle(table, matched)
    notes = check_inverted(table, found)
    fields = _load(table, found)
    unset = [None] * len(next(iter(fields.values())))
    missing = MissingWords(table.reading)
    cells, listed_notes = unpack_lists(table, fields.get("caption", unset))
    if contents is not None and "text" not in contents:
        cells = [cell[0][1] if isinstance(cell, tuple) else cell for cell in cells]
    captions = [cell if isinstance(cell, tuple) else missing.drop(cell) for cell in cells]
    images = fields.get("image", unset)
    empty = [row for row, pair in enumerate(zip(images, captions, strict=True)) if pair == (None, None)]
    unread = describe_unread(table, matched) if contents is None else ()
    refuse_rows(table, empty, lambda _: f"expected an image, a caption or both, found neither{_likely(unread)}")
    ids = fields.get("sample_id") or _ids_of(table, images)
    labels, generators = join_labels(table, found, fields)
    splits, groups = fields.get("split", unset), fields.get("group", unset)
    origins, odd = load_origins(table, found)
    folder, below = rebase(table, images)
    orphans = []

    def rows() -> Iterator[Sample]:
        for row, (split, group) in enumerate(zip(splits, groups, strict=True)):
            where, image = table.where(row), images[row]
            if isinstance(image, str):
                image = _rebased(table, image, find_image(below(image), folder))
            if isinstance(image, Gap):
                column = quoted(table.header[found["image"]])
                orphans.append(Gap(image.path, f"{where}, column {column}: {image.message}"))
                continue
            origin = origins[row] if origins else None
            for name, caption in _captions(ids[row], captions[row]):
                kin = group if name == ids[row] else group or ids[row]
                yield Sample(name, image, caption, *labels[row], split, kin, where, origin)

    samples = SampleList.of(rows())
    settle_orphans(orphans, len(samples), on_orphan)
    check_unique(samples)
    notes += unread + odd + listed_notes + missing.notes + describe_labels(table, generators)
    return Parsed(samples, generators, tuple(orphans), notes=notes)


def _settle(table: Table, matched: Mapping[str, int]) -> dict[str, int]:
    """Choose which of the columns are read; refuse a table without samples, or without the labels that are stated."""
    if "image" not in matched and "caption" not in matched:
        raise ManifestError(
            f"{table.origin} names neither images nor captions, expected a column "
            f"{'|'.join(FIELDS['image'])} or {'|'.join(FIELDS['caption'])}, found {listed(table.header)}: "
            "name it with --column image=… or caption=…"
        )
    found = dict(matched)
    if "generator" in found and "label_b" not in found:
        found["label_b"] = found.pop("generator")
    if table.reading.stated and not found.keys() & {*LABELS}:
        said = ", ".join(map(quoted, table.reading.stated))
        raise ManifestError(
            f"{table.origin}: --labels says what {said} means, expected a column {'|'.join(LABELS)}, "
            f"found {listed(table.header)}"
        )
    if "split" not in found:
        table.reading.check_splits(table.origin, ())
    if table.reading.is_unlabelled:
        found = {field: position for field, position in found.items() if field not in LABELS}
    return found


def _load(table: Table, found: dict[str, int]) -> dict[str, list[Any]]:
    """Load the columns of all fields but the origin; captions may be lists."""
    wanted = [(field, position) for field, position in found.items() if field != "origin"]
    names = ["captions" if field == "caption" else field for field, _ in wanted]
    columns = load_columns(table, zip(names, (position for _, position in wanted), strict=True))
    return {field: column for (field, _), column in zip(wanted, columns, strict=True)}


def _rebased(table: Table, path: str, found: ImageFile | Gap) -> ImageFile | Gap:
    """Say of what is not there how the table calls it, and below which root it was looked for."""
    if isinstance(found, ImageFile) or not table.reading.root:
        return found
    return Gap(
        found.path, f"{found.message}, in the table {quoted_path(path)}, below --root {quoted_path(table.reading.root)}"
    )


def _likely(unread: Sequence[str]) -> str:
    """Say in a message which column probably has what is missing."""
    return next((f" ({note})" for note in unread if "--column image=" in note or "--column caption=" in note), "")


def _captions(name: str, cell: Captions) -> Iterator[tuple[str, str | None]]:
    """Give the samples of a row by id and caption: one for each caption of a list."""
    if isinstance(cell, tuple):
        yield from ((f"{name}#{place}", caption) for place, caption in cell)
    else:
        yield name, cell


def _ids_of(table: Table, images: Sequence[object]) -> list[str]:
    paths = [image for image in images if isinstance(image, str)]
    if len(paths) == len(images) == len(set(paths)):
        return paths
    return list(map(table.default_id, range(len(images))))
