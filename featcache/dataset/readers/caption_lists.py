"""Several captions in the text of one cell, as JSON lists."""

import json
from collections.abc import Sequence

from featcache.dataset.readers.cells import Captions, parse_captions, quoted
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.words import is_missing

__all__ = ["unpack_lists"]


def unpack_lists(table: Table, cells: Sequence[Captions]) -> tuple[Sequence[Captions], tuple[str, ...]]:
    """Read a column of captions as lists if each of its cells is a JSON list of texts; not by rules before 3.

    Returns
    -------
    captions : sequence of Captions
        As many as cells.
    notes : tuple of str
        What the user should know about cells that look like lists and are text.
    """
    if table.reading.rules < 3 or table.has_texts:
        return cells, ()
    texts = [cell for cell in cells if isinstance(cell, str) and not is_missing(cell)]
    listed = [text for text in texts if text.startswith("[") and text.rstrip().endswith("]")]
    if not listed:
        return cells, ()
    if len(listed) == len(texts):
        try:
            return [_unpack(cell) for cell in cells], ()
        except (ValueError, RecursionError):
            pass
    what = f"{len(listed):,} caption{'s' * (len(listed) > 1)} such as {quoted(listed[0])}: taken as text"
    return cells, (f'{what}; lists are read where all captions are, as JSON: ["a cat", "a pet"]',)


def _unpack(cell: Captions) -> Captions:
    if not isinstance(cell, str) or not cell.startswith("["):
        return cell
    captions = json.loads(cell)
    if not all(caption is None or isinstance(caption, str) for caption in captions):
        raise ValueError("expected a list of texts")
    return parse_captions(captions)
