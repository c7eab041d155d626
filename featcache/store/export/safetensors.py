"""An export as one ``.safetensors``."""

from __future__ import annotations

import json
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.store.export.columns import Source

__all__ = ["write_safetensors"]

_DTYPES = {"float32": "F32", "int8": "I8", "int16": "I16", "bool": "BOOL"}
_MAX_HEADER = 100_000_000
"""What readers of the format accept."""


def write_safetensors(source: Source, path: Path) -> None:
    """Write numbers as tensors, strings as JSON in the metadata.

    The format has no strings, so the metadata, which map strings to strings, hold ``sample_id``, ``split``, ``group``,
    ``origin`` if it is known, and ``class_names`` as JSON lists, and ``about`` as a JSON object.

    Raises
    ------
    FeatcacheError
        If the strings are longer than the header of the format may be: about 100 MB.
    """
    metadata = {
        column.name: json.dumps([value for piece in column.pieces() for value in piece.tolist()])
        for column in source.strings
    }
    metadata |= {"class_names": json.dumps(list(source.store.class_names)), "about": json.dumps(source.about)}
    # Widest numbers first: every tensor is then aligned to its own size, as readers without copies need it.
    columns = sorted(source.numbers, key=lambda column: -column.dtype.itemsize)
    header: dict[str, object] = {"__metadata__": metadata}
    start = 0
    for column in columns:
        stop = start + column.nbytes
        header[column.name] = {
            "dtype": _DTYPES[column.dtype.name],
            "shape": list(column.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise FeatcacheError(
            f"the strings of {len(source.rows)} samples take {len(text)} bytes, a .safetensors file holds at most "
            f"{_MAX_HEADER}: export to .npz, .parquet or a folder"
        )
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for column in columns:
            for piece in column.pieces():
                file.write(piece.tobytes())
