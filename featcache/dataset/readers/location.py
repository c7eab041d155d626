"""What a user names as data: a file, a folder that stands for files, or a range of tars."""

import os
import re
from pathlib import Path

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.words import SPLIT_NAMES
from featcache.errors import ManifestError
from featcache.files.regular import check_regular

__all__ = ["ACCEPTED", "find_tars", "locate", "name_of", "safe_name"]

ACCEPTED = (
    "a .csv, .tsv, .jsonl, .ndjson, .parquet or .xlsx file, a folder of pictures (caption sidecars or class "
    "folders), a folder with one manifest.csv, .tsv, .jsonl or .parquet or metadata.csv or .jsonl in it, "
    "WebDataset tars (a .tar file, a range such as train-{000..012}.tar, or a folder of nothing else), or "
    "hf:NAME[@revision]"
)
_MANIFEST_FILES = frozenset(
    ("manifest.csv", "manifest.tsv", "manifest.jsonl", "manifest.parquet", "metadata.csv", "metadata.jsonl")
)
_COMMON_STEMS = frozenset(
    {"", "manifest", "metadata", "data", "dataset", "index", "samples", "labels", "captions"} | SPLIT_NAMES.keys()
)
_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_MAX_TARS = 100_000


def locate(data: str | Path) -> Path:
    """Resolve a path; a folder with one manifest file in it becomes that file, a range of tars stays a range.

    Raises
    ------
    ManifestError
        There is nothing of this name, or it is neither a regular file nor a folder, or a folder of several
        manifests.
    """
    try:
        if _is_range(data):
            return Path(data).absolute()
        path = Path(data).resolve(strict=True)
        if not path.is_dir():
            check_regular(path.stat(), str(path))
            # A link's own name and folder count: caches keep the file itself elsewhere, under a digest.
            return Path(data).parent.resolve() / Path(data).name
        with os.scandir(path) as entries:
            files = [entry.name for entry in entries if not entry.is_dir()]
        inside = sorted(name for name in files if name.lower() in _MANIFEST_FILES)
    except (OSError, ValueError, RuntimeError) as error:
        raise ManifestError(f"data {str(data)!r} cannot be read ({error}): expected {ACCEPTED}") from error
    if len(inside) > 1:
        raise ManifestError(f"folder {str(path)!r} holds several manifests, {inside!r}: name the one to read")
    return locate(path / inside[0]) if inside else path


def _is_range(data: str | Path) -> bool:
    return str(data).lower().endswith(".tar") and bool(_RANGE.search(str(data))) and not Path(data).exists()


def find_tars(path: Path) -> tuple[Path, ...]:
    """List the tars that a located path stands for, in order: itself, its range, or all that a folder holds.

    Returns
    -------
    tuple of Path
        Empty: the path stands for something else. Those of a range may not exist.

    Raises
    ------
    ManifestError
        A range is empty or too long.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        return tuple(files) if all(file.suffix.lower() == ".tar" and file.is_file() for file in files) else ()
    if path.suffix.lower() != ".tar":
        return ()
    return tuple(map(Path, _expand(str(path)))) if _is_range(path) else (path,)


def _expand(pattern: str) -> list[str]:
    """Replace each range by its numbers, the first range varying slowest; zeros in front set the width."""
    names = [""]
    end = 0
    for found in _RANGE.finditer(pattern):
        first, last = int(found[1]), int(found[2])
        if not 0 <= last - first < _MAX_TARS // len(names):
            raise ManifestError(
                f"range {quoted(found[0])} in {quoted(pattern)}: expected 1 to {_MAX_TARS} tars in rising order"
            )
        width = len(found[1]) if found[1].startswith("0") else 0
        fixed = pattern[end : found.start()]
        names = [f"{name}{fixed}{number:0{width}}" for name in names for number in range(first, last + 1)]
        end = found.end()
    return [name + pattern[end:] for name in names]


def name_of(path: Path) -> str:
    """Name a data set by its located path: a folder's name, a file's stem, or its folder's if the stem says nothing."""
    if path.is_dir():
        return path.name
    stem = re.sub(rf"[-_.]*{_RANGE.pattern}", "", path.stem)
    return path.parent.name if stem.lower() in _COMMON_STEMS and path.parent.name else stem


def safe_name(name: str) -> str:
    """Make a name safe as a file name: [A-Za-z0-9._-], no dot or hyphen in front, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:80].rstrip(".-") or "data"
