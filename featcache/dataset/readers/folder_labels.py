"""Labels and splits by the folders of pictures, where the samples say none themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from featcache.dataset.readers.cells import LABELS
from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.reading import Reading

__all__ = ["label_by_folders"]


def label_by_folders(
    where: str, samples: Sequence[tuple[str, dict[str, object]]], reading: Reading
) -> tuple[Reading, tuple[str, ...]]:
    """Add what folders say to the cells of samples: labels if no sample has one, splits to samples that have none.

    Parameters
    ----------
    where : str
        How messages name the source.
    samples : sequence of (str, dict of str to object)
        Path of each, with ``/`` between its parts, and its raw cells by field, which are added to.
    reading : Reading
        By which rules; before rules 3, folders gave no splits to samples with labels.

    Returns
    -------
    reading : Reading
        By which the cells are to be read: what was stated about folders is done, and their names stay what they are.
    notes : tuple of str
        Lines for the user.

    Raises
    ------
    ManifestError
        Labels cannot be told (`label_paths`).
    """
    has_labels = any(cells.keys() & {*LABELS} for _, cells in samples)
    if reading.is_early or (has_labels and reading.rules < 3) or not any("/" in path for path, _ in samples):
        return reading, ()
    of_folders = replace(reading, labels="none") if has_labels else reading
    labels, notes = label_paths(where, (path for path, _ in samples), of_folders)
    for path, cells in samples:
        split, label_a, label_b = labels[tuple(path.split("/")[:-1])]
        cells.setdefault("split", split)
        if not has_labels:
            cells |= {"label_a": label_a, "label_b": label_b}
    if has_labels:
        return reading, notes
    names = frozenset(label_b for _, label_a, label_b in labels.values() if label_a == 1 and label_b is not None)
    return replace(reading, labels="auto", generators=names), notes
