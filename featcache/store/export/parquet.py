"""An export as one Parquet file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.store.batches import iterate_batches
from featcache.store.export.columns import Source
from featcache.store.frames import arrow_table

__all__ = ["write_parquet"]

_GROUP_BYTES = 32 << 20


def write_parquet(source: Source, path: Path) -> None:
    """Write row groups of about 32 MiB; columns as `featcache.store.frames.arrow_table` describes them.

    Raises
    ------
    FeatcacheError
        If pyarrow is not installed.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise FeatcacheError("writing Parquet needs pyarrow: pip install 'featcache[parquet]'") from error
    row_bytes = 4 * sum(sum(s.widths) for s in source.selections.values()) + 64
    step = max(256, _GROUP_BYTES // row_bytes)
    read = partial(source.store.read, selections=source.selections)
    writer = None
    try:
        for arrays in iterate_batches(read, source.rows, batch_size=step):
            table = arrow_table(arrays, source.about)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, use_dictionary=["split", "group"], compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
