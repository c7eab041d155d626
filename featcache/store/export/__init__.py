"""Taking arrays out of a cache: one file or folder that other programs read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.files.publish import owner_of, publish_new, remove_leftovers, replace_file, temporary_beside
from featcache.store.export.columns import Source
from featcache.store.export.folder import describe_taken, prepare_npy_folder, write_npy_folder
from featcache.store.export.npz import write_npz
from featcache.store.export.parquet import write_parquet
from featcache.store.export.safetensors import write_safetensors
from featcache.store.selection import Selection
from featcache.store.store import FeatureStore

__all__ = ["FORMATS", "ExportReport", "export_store"]

FORMATS: Mapping[str, Callable[[Source, Path], None]] = {
    ".npz": write_npz,
    ".parquet": write_parquet,
    ".safetensors": write_safetensors,
}
"""Writers of single files, by the ending of the name."""


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes
    ----------
    path : Path
        The file or folder that was written.
    n_rows : int
        How many samples it has.
    widths : mapping of modality to int
        How many columns the vectors of each have.
    n_missing : mapping of modality to int
        How many samples have no vector of each.
    n_bytes : int
        Size of what was written.
    """

    path: Path
    n_rows: int
    widths: Mapping[str, int]
    n_missing: Mapping[str, int]
    n_bytes: int


def export_store(
    store: FeatureStore,
    out: str | Path,
    *,
    split: str | None = None,
    selections: Mapping[str, Selection] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write aligned rows under a name that says the format, in bounded memory.

    All formats hold ``sample_id``, ``split``, ``group``, ``origin`` where the data say where rows come from,
    ``label_a``, ``label_b`` (-1 unknown), ``class_names``, and per modality ``<modality>`` (n, d) float32, NaN in the
    rows of samples without it, and ``<modality>_present`` (n,) bool; and ``about``, a JSON document with the data set
    and what the vectors are. What is there under the name is refused, or with ``overwrite`` replaced as a whole when
    everything is written, or not at all.

    Parameters
    ----------
    store : FeatureStore
        The store whose samples are exported.
    out : path
        ``x.npz``, ``x.parquet``, ``x.safetensors``; or a folder of ``.npy``: a name without ending, or with a final
        ``/``.
    split : str
        ``train``, ``valid`` or ``test``; default: all samples.
    selections : mapping of modality to Selection
        Which vectors; default: the standard ones.
    overwrite : bool
        Whether a file, or the folder of an earlier export, may be replaced. An empty folder always may.

    Raises
    ------
    FeatcacheError
        If the ending is another one, something is there that may not be replaced, or there are no vectors to write.
    """
    path, suffix = Path(out), Path(out).suffix
    if str(out).endswith("/") or not suffix:
        prepare_npy_folder(path, overwrite=overwrite)
    elif suffix not in FORMATS:
        raise FeatcacheError(
            f"cannot export to {str(out)!r}: expected a name that ends in {', '.join(FORMATS)}, or in / for a folder "
            "of .npy files"
        )
    elif os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise FeatcacheError(f"cannot export to {str(out)!r}: expected a file or nothing, found something else there")
    elif not overwrite and os.path.lexists(path):
        raise FeatcacheError(describe_taken(path))
    chosen = store.default_selections() if selections is None else selections
    if not chosen:
        has = ", ".join(store.modalities) or "none"
        raise FeatcacheError(
            f"nothing to export from cache {str(store.path)!r}: no features are selected, expected some of those that "
            f"it has: {has}"
        )
    source = Source(store, store.row_numbers(split), chosen)
    write = None if str(out).endswith("/") else FORMATS.get(suffix)
    try:
        if write is None:
            size = write_npy_folder(source, path, overwrite=overwrite)
        else:
            size = _write_file(write, source, path, overwrite=overwrite)
    except OSError as error:
        raise FeatcacheError(f"cannot export to {str(out)!r}: {error.strerror or error}") from error
    missing = {m: int((~store.rows(s).present[source.rows]).sum()) for m, s in chosen.items()}
    return ExportReport(path, len(source.rows), {m: sum(s.widths) for m, s in chosen.items()}, missing, size)


def _write_file(write: Callable[[Source, Path], None], source: Source, path: Path, *, overwrite: bool) -> int:
    """Write an export of one file; returns its size."""
    if path.parent.is_dir():
        remove_leftovers(other for other in path.parent.iterdir() if owner_of(other))
    with temporary_beside(path, root=path.parent) as temp:
        write(source, temp)
        if overwrite:
            replace_file(temp, path)
        elif not publish_new(temp, path):
            raise FeatcacheError(describe_taken(path))
    return path.stat().st_size
