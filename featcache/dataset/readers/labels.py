"""Labels of both tasks: each completed from the other, and the names and the order of the generators."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.reading import AI_CLASS, as_generator
from featcache.dataset.readers.table import Table, refuse_rows
from featcache.dataset.readers.words import verdict_of
from featcache.errors import ManifestError
from featcache.identity.terms import UNKNOWN

__all__ = ["describe_labels", "join_labels", "label_classes"]


def join_labels(
    table: Table, found: Mapping[str, int], fields: Mapping[str, list[Any]]
) -> tuple[list[tuple[int, str | None]], tuple[str, ...]]:
    """Complete both labels from each other; refuse contradictions."""
    reading = table.reading
    unset = [None] * len(next(iter(fields.values())))
    if reading.is_unlabelled:
        return [(UNKNOWN, None)] * len(unset), ()
    known_a = fields.get("label_a") or [UNKNOWN] * len(unset)
    numbers = fields.get("label_b", unset)
    names, generators = _name_classes(table, numbers, fields.get("generator", unset))
    labels, clashes = [], []
    for row, (label_a, name) in enumerate(zip(known_a, names, strict=True)):
        label_b = name
        if label_a == UNKNOWN and label_b is not None:
            label_a = int(label_b != "real")
        elif label_a == UNKNOWN and reading.rest is not None:
            label_a = reading.rest
        if label_a == 0 and label_b is None:
            label_b = "real"
        if label_b is not None and label_a != int(label_b != "real"):
            clashes.append(row)
        labels.append((label_a, None if label_b == AI_CLASS and not reading.is_early else label_b))
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
    is_early = table.reading.is_early
    if not is_early:
        raw, names = _join_unknown(table, raw, names)
    numbers = {label for label in raw if isinstance(label, int) and label}
    if numbers:
        mixed = [row for row, label in enumerate(raw) if isinstance(label, str) and (is_early or label != AI_CLASS)]
        refuse_rows(table, mixed, lambda row: f"label_b: found the name {quoted(raw[row])} among numbers")
    name_of = _pair_names(table, raw, names) | {0: "real"}
    labels = [
        name if label is None else name_of[label] if isinstance(label, int) else label
        for label, name in zip(raw, names, strict=True)
    ]
    declared = table.declared if is_early else tuple(name for name in table.declared if as_generator(name))
    ordered = [name_of[number] for number in sorted(numbers)] or list(declared)
    others = {label for label in labels if label is not None} - {"real", *ordered}
    return labels, tuple(ordered + sorted(others if is_early else others - {AI_CLASS}))


def _join_unknown(
    table: Table, raw: Sequence[int | str | None], names: Sequence[str | None]
) -> tuple[list[int | str | None], list[str | None]]:
    """Let the name or number of a generator stand where the other column says no more than AI."""
    pairs = list(zip(raw, names, strict=True))
    clashes = [row for row, pair in enumerate(pairs) if pair in ((AI_CLASS, "real"), (0, AI_CLASS))]
    refuse_rows(
        table, clashes, lambda row: f"label_b {quoted(raw[row])} contradicts the generator {quoted(names[row])}"
    )
    return (
        [None if label == AI_CLASS and name is not None else label for label, name in pairs],
        [None if name == AI_CLASS and isinstance(label, int) else name for label, name in pairs],
    )


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


def label_classes(table: Table, names: Collection[str]) -> dict[str, tuple[int, str | None]]:
    """Give both labels of the pictures of each class, of a source that names classes and nothing else.

    Raises
    ------
    ManifestError
        The user states what names mean that are nowhere.
    """
    reading = table.reading
    reading.check_stated(table.origin, names, "the classes {}")
    labels: dict[str, tuple[int, str | None]] = {}
    for name in names:
        found_class = reading.of_class(name) or (AI_CLASS if reading.rest else "real")
        label_b = None if found_class == AI_CLASS else found_class
        labels[name] = (UNKNOWN, None) if reading.is_unlabelled else (int(found_class != "real"), label_b)
    return labels


def describe_labels(table: Table, generators: Sequence[str]) -> tuple[str, ...]:
    """Say which classes are kept only because an earlier version read them."""
    odd = [name for name in generators if verdict_of(name) is not None]
    if not (table.reading.is_early and odd):
        return ()
    return (
        f"{', '.join(map(quoted, odd[:5]))}: kept as the name of a generator, as the earlier version read it into "
        "this cache; --labels auto reads it as real or AI",
    )
