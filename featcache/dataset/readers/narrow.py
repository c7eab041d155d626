"""Tables with one picture a row become samples."""

from collections.abc import Iterator, Sequence

from featcache.dataset.readers.cells import FIELDS, LABELS, quoted
from featcache.dataset.readers.labels import describe_labels, join_labels
from featcache.dataset.readers.outcome import (
    MissingWords,
    OnOrphan,
    Parsed,
    check_unique,
    find_image,
    settle_orphans,
)
from featcache.dataset.readers.table import Table, load_columns, match_columns, refuse_rows
from featcache.dataset.sample import Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError

__all__ = ["parse_table"]


def parse_table(table: Table, *, on_orphan: OnOrphan) -> Parsed:
    """Turn a narrow table into samples, one a row.

    Without a sample_id column the image paths serve as ids if every row has one and no two are equal, else
    the row numbers ("row-12").

    Raises
    ------
    ManifestError
        The table breaks a rule; the message names file, row and column of the first offender and the count.
    """
    found = match_columns(table)
    if "image" not in found and "caption" not in found:
        raise ManifestError(
            f"{table.origin} names neither images nor captions, expected a column "
            f"{'|'.join(FIELDS['image'])} or {'|'.join(FIELDS['caption'])}, found {_listed(table.header)}"
        )
    if "generator" in found and "label_b" not in found:
        found["label_b"] = found.pop("generator")
    if table.reading.stated and not found.keys() & {*LABELS}:
        said = ", ".join(map(quoted, table.reading.stated))
        raise ManifestError(
            f"{table.origin}: --labels says what {said} means, expected a column {'|'.join(LABELS)}, "
            f"found {_listed(table.header)}"
        )
    if table.reading.is_unlabelled:
        found = {field: position for field, position in found.items() if field not in LABELS}
    fields = dict(zip(found, load_columns(table, found.items()), strict=True))
    unset = [None] * len(next(iter(fields.values())))
    missing = MissingWords(table.reading)
    captions = [missing.drop(caption) for caption in fields.get("caption", unset)]
    images = fields.get("image", unset)
    empty = [row for row, pair in enumerate(zip(images, captions, strict=True)) if pair == (None, None)]
    refuse_rows(table, empty, lambda _: "expected an image, a caption or both, found neither")
    ids = fields.get("sample_id") or _ids_of(images)
    labels, generators = join_labels(table, found, fields)
    splits, groups = fields.get("split", unset), fields.get("group", unset)
    orphans = []

    def rows() -> Iterator[Sample]:
        for row, (split, group) in enumerate(zip(splits, groups, strict=True)):
            where, image = table.where(row), images[row]
            if isinstance(image, str):
                image = find_image(image, table.folder)
            if isinstance(image, str):
                orphans.append(f"{where}, column {quoted(table.header[found['image']])}: {image}")
            else:
                yield Sample(ids[row], image, captions[row], *labels[row], split, group, where)

    samples = SampleList.of(rows())
    settle_orphans(orphans, len(samples), on_orphan)
    check_unique(samples)
    notes = missing.notes + describe_labels(table, generators)
    return Parsed(samples, generators, tuple(orphans), notes=notes)


def _listed(header: Sequence[str]) -> str:
    more = f" and {len(header) - 10} more" if len(header) > 10 else ""
    return ", ".join(quoted(column) for column in header[:10]) + more or "none"


def _ids_of(images: Sequence[object]) -> list[str]:
    paths = [image for image in images if isinstance(image, str)]
    if len(paths) == len(images) == len(set(paths)):
        return paths
    return [f"row-{row + 1}" for row in range(len(images))]
