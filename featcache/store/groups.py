"""Samples that must not be divided between splits or folds: what their content keys link."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.samples import SampleTable
from featcache.identity.links import clusters

__all__ = ["link_groups"]


def link_groups(table: SampleTable) -> NDArray[np.int64]:
    """Number the groups of samples that must not be divided between splits.

    Samples belong together that have the same group, the same picture byte for byte, or the same caption, directly or
    through other samples. Automatic splits are made of these groups; whoever brings a split of their own, or wants
    folds, takes them from here: ``link_groups(open_store(path).samples)`` is aligned with the store's rows.

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
