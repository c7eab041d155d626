"""Where the number of torch's threads would decide last digits: there it has one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from heads.mlp.network import Network

__all__ = ["one_thread", "one_thread_if_tiny"]

_TINY = 2**16  # parameters


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute on one thread of the CPU: a sum over more than 32,768 rows is divided among its threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread_if_tiny(networks: Iterable[Network]) -> Iterator[None]:
    """Have torch compute on one thread if these networks together are so small that more do not pay.

    Products with few columns on both sides are divided along their sums. Those of larger networks are divided among
    rows and columns of the result, of which each is summed by one thread.
    """
    if sum(network.n_parameters for network in networks) < _TINY:
        with one_thread():
            yield
    else:
        yield
