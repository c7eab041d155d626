"""Labels of both tasks: each completed from the other, and the names and the order of the generators."""

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.table import Table, refuse_rows
from featcache.errors import ManifestError
from featcache.identity.terms import UNKNOWN

__all__ = ["join_labels"]


def join_labels(
    table: Table, found: Mapping[str, int], fields: Mapping[str, list[Any]]
) -> tuple[list[tuple[int, str | None]], tuple[str, ...]]:
    """Complete both labels from each other; refuse contradictions."""
    unset = [None] * len(next(iter(fields.values())))
    known_a = fields.get("label_a") or [UNKNOWN] * len(unset)
    names, generators = _name_classes(table, fields.get("label_b", unset), fields.get("generator", unset))
    labels, clashes = [], []
    for row, (label_a, label_b) in enumerate(zip(known_a, names, strict=True)):
        if label_a == UNKNOWN and label_b is not None:
            label_a = int(label_b != "real")
        elif label_a == 0 and label_b is None:
            label_b = "real"
        if label_b is not None and label_a != int(label_b != "real"):
            clashes.append(row)
        labels.append((label_a, label_b))
    refuse_rows(
        table,
        clashes,
        lambda row: (
            f"columns {quoted(table.header[found['label_a']])} and {quoted(table.header[found['label_b']])}: "
            f"label_a {known_a[row]} contradicts the class {quoted(names[row])}"
        ),
    )
    return labels, generators


def _name_classes(
    table: Table, raw: Sequence[int | str | None], names: Sequence[str | None]
) -> tuple[list[str | None], tuple[str, ...]]:
    """Give each row its class name, and the order of the classes."""
    numbers = {label for label in raw if isinstance(label, int) and label}
    if numbers:
        mixed = [row for row, label in enumerate(raw) if isinstance(label, str)]
        refuse_rows(table, mixed, lambda row: f"label_b: found the name {quoted(raw[row])} among numbers")
    name_of = _pair_names(table, raw, names) | {0: "real"}
    labels = [
        name if label is None else name_of[label] if isinstance(label, int) else label
        for label, name in zip(raw, names, strict=True)
    ]
    ordered = [name_of[number] for number in sorted(numbers)] or list(table.declared)
    ordered += sorted({label for label in labels if label is not None} - {"real", *ordered})
    return labels, tuple(ordered)


def _pair_names(table: Table, raw: Sequence[int | str | None], names: Sequence[str | None]) -> dict[int, str]:
    """Find the name of each number in label_b, one-to-one; a number without a name names itself."""
    name_of: dict[int, str] = {}
    number_of: dict[str, int] = {"real": 0}
    clashes = []
    for row, (number, name) in enumerate(zip(raw, names, strict=True)):
        if not isinstance(number, int):
            continue
        if name is not None and (
            name_of.setdefault(number, name) != name or number_of.setdefault(name, number) != number
        ):
            clashes.append(row)
    refuse_rows(
        table,
        clashes,
        lambda row: (
            f"expected one generator for each label_b, found {quoted(names[row])} for {raw[row]}, which "
            "another row pairs differently"
        ),
    )
    for number in sorted({label for label in raw if isinstance(label, int)} - name_of.keys()):
        name_of[number] = str(number)
        if number_of.setdefault(str(number), number) != number:
            raise ManifestError(f"{table.origin}: label_b {number} has no generator, and {number} names another")
    return name_of
