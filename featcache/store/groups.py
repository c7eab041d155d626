"""Rows that belong together, by what their content keys and groups link: one home, three rules.

`link_groups` is for splits: a group, a picture or a caption links, directly or through other samples. `link_rows` is
for rows that have a split already, to divide them further: where groups are given they say which captions belong
together, so that a caption links only rows without a group. `shared_rows` is for rows of one split that are to join
another: what they share with a third counts directly, not through other rows.

Splits of caches, the division of validation in runs, and folds of ablations were made by these rules: another result
would be another split. They stand here because `featcache` makes splits and knows nothing of `heads`, which takes the
other two rules from the public names of `featcache`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.cache.samples import SampleTable
from featcache.identity.links import clusters

__all__ = ["LinkedRows", "link_groups", "link_rows", "shared_rows"]


class LinkedRows(Protocol):
    """Rows with what may link them, e.g. `Arrays`."""

    @property
    def group(self) -> NDArray[np.str_]:
        """Group of each row, ``""`` where none was given: (n,)."""
        ...

    @property
    def keys(self) -> Mapping[str, NDArray[np.uint8]]:
        """Content keys by modality, zeros where a row has no such content: (n, 32)."""
        ...


def link_groups(table: SampleTable) -> NDArray[np.int64]:
    """Number the groups of samples that must not be divided between splits.

    Samples belong together that have the same group, the same picture byte for byte, or the same caption, directly or
    through other samples. Automatic splits are made of these groups; whoever brings a split of their own takes them
    from here: ``link_groups(open_store(path).samples)`` is aligned with the store's rows.

    Returns
    -------
    (n,) int64
        Numbers from 0, in the order of first appearance.
    """
    links: list[Any] = [table.content_numbers("image"), table.content_numbers("text")]
    if len(table.group.blob):
        group = table.group
        links.append([group[i] or None for i in range(len(group))])
    return clusters(links)


def link_rows(rows: LinkedRows) -> NDArray[np.int64]:
    """Number the sets of rows that must not be divided between folds, e.g. as ``groups`` of scikit-learn's splitters.

    Rows belong together that have the same group or the same picture, directly or through other rows; rows without a
    group also if they have the same caption.

    Returns
    -------
    (n,) int64
        Numbers from 0, in the order of first appearance.
    """
    n = len(rows.group)
    has_group = np.asarray(rows.group != "")
    links = [_codes(rows.group, has_group)]
    for modality, keys in rows.keys.items():
        has_key = keys.any(axis=1)
        if modality == "text":
            has_key = has_key & ~has_group
        links.append(_codes(np.ascontiguousarray(keys).view("V32").reshape(n), np.asarray(has_key)))
    return clusters(links)


def shared_rows(rows: LinkedRows, others: LinkedRows) -> NDArray[np.bool_]:
    """Return which rows have the group, the picture or the caption of any of some other rows: (n,)."""
    groups = np.unique(others.group[others.group != ""])
    shared = np.isin(rows.group, groups) if len(groups) else np.zeros(len(rows.group), dtype=np.bool_)
    for modality, keys in rows.keys.items():
        known = {key.tobytes() for key in others.keys[modality] if key.any()}
        shared |= np.fromiter((key.tobytes() in known for key in keys), dtype=np.bool_, count=len(keys))
    return shared


def _codes(values: NDArray[np.generic], use: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the distinct values of the rows in use; -1 elsewhere."""
    codes = np.full(len(values), -1, dtype=np.int64)
    if use.any():
        codes[use] = np.unique(values[use], return_inverse=True)[1].reshape(-1)
    return codes
