"""What a user names as data: a file, a folder that stands for files, or a range of tars."""

import glob
import os
import re
from itertools import islice
from pathlib import Path

from featcache.dataset.readers.cells import quoted, quoted_path
from featcache.dataset.readers.image_folder import find_metadata
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.dataset.readers.tree import is_metadata
from featcache.dataset.readers.words import SPLIT_NAMES
from featcache.errors import ManifestError
from featcache.files.picture_formats import ENDINGS
from featcache.files.regular import check_regular

__all__ = [
    "ACCEPTED",
    "as_before",
    "find_parquets",
    "find_tars",
    "has_columns",
    "has_objects",
    "is_image_folder",
    "locate",
    "name_of",
    "safe_name",
]

ACCEPTED = (
    "a .csv, .tsv, .json, .jsonl, .ndjson, .parquet or .xlsx file, a folder of pictures (caption sidecars or class "
    "folders), a folder with one manifest.csv, .tsv, .jsonl or .parquet or metadata.csv, .jsonl or .parquet in it (or "
    "metadata in its folders of splits), several Parquet files ('data/train-*.parquet', or a folder of them), "
    "WebDataset tars (a .tar file, a range such as train-{000..012}.tar, or a folder of nothing else), or "
    "hf:NAME[@revision]"
)
_MANIFEST_FILES = frozenset(
    (
        *("manifest.csv", "manifest.tsv", "manifest.jsonl", "manifest.parquet"),
        *("metadata.csv", "metadata.jsonl", "metadata.parquet"),
    )
)
_COMMON_STEMS = frozenset(
    {"", "manifest", "metadata", "data", "dataset", "index", "samples", "labels", "captions"} | SPLIT_NAMES.keys()
)
_WILD = re.compile(r"[*?[]")
_BESIDE_TARS = (".parquet", "_stats.json")
"""What img2dataset writes beside its tars, about what is in them."""
_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_MAX_FILES = 100_000


def locate(data: str | Path) -> Path:
    """Resolve a path; a folder with one manifest file in it becomes that file, ranges and patterns stay what they are.

    Raises
    ------
    ManifestError
        There is nothing of this name, or it is neither a regular file nor a folder, or a folder of several
        manifests.
    """
    try:
        if _is_range(data) or _is_pattern(data):
            return Path(data).absolute()
        path = Path(data).resolve(strict=True)
        if not path.is_dir():
            check_regular(path.stat(), str(path))
            # A link's own name and folder count: caches keep the file itself elsewhere, under a digest.
            return Path(data).parent.resolve() / Path(data).name
        with os.scandir(path) as entries:
            named = [entry for entry in entries if entry.name.lower() in _MANIFEST_FILES]
            inside = sorted(entry.name for entry in named if not entry.is_dir())
    except FileNotFoundError as error:
        where = f": it is a link to {os.readlink(data)!r}" if os.path.islink(data) else ""  # noqa: PTH114, PTH115
        raise ManifestError(f"there is no file {str(data)!r}{where}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ManifestError(f"data {str(data)!r} cannot be read ({error}): expected {ACCEPTED}") from error
    if len(inside) > 1:
        raise ManifestError(f"folder {str(path)!r} holds several manifests, {inside!r}: name the one to read")
    return locate(path / inside[0]) if inside else path


def as_before(data: str | Path, path: Path) -> Path:
    """Return what the first version took a located path for: to it, a folder of ``metadata.parquet`` was a folder."""
    return path.parent if path.name.lower() == "metadata.parquet" and Path(data).is_dir() else path


def is_image_folder(data: str | Path, path: Path) -> bool:
    """Say whether a folder was named that is read by its tables of metadata, at a located path or below it."""
    return (is_metadata(path.name) and Path(data).is_dir()) or bool(find_metadata(path))


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
        tars = tuple(file for file in files if file.suffix.lower() == ".tar" and file.is_file())
        beside = {f"{tar.stem}{end}" for tar in tars for end in _BESIDE_TARS}
        return tars if {file.name for file in files} - {tar.name for tar in tars} <= beside else ()
    if path.suffix.lower() != ".tar":
        return ()
    if _is_pattern(path):
        return _matching(path)
    return tuple(map(Path, _expand(str(path)))) if _is_range(path) else (path,)


def _is_pattern(data: str | Path) -> bool:
    return bool(_WILD.search(str(data))) and not os.path.lexists(data)


def find_parquets(path: Path) -> tuple[tuple[Path, ...], Path]:
    """List the Parquet files that a located path stands for, in order: of a pattern, or all below a folder.

    A folder stands for them if there is no picture and no tar below it; hidden files and folders are ignored, links
    to folders are not followed.

    Returns
    -------
    tuple of (tuple of Path, Path)
        The files, and the folder that all are in or below. No files: the path stands for something else.

    Raises
    ------
    ManifestError
        A pattern is not one of Parquet files, or matches none, or there are too many.
    """
    if path.is_dir():
        files = _below(path)
    elif _is_pattern(path):
        if path.suffix.lower() != ".parquet":
            folder = f"; of pictures name the folder, {quoted_path(path.parent)}" if _is_of_pictures(path) else ""
            raise ManifestError(
                f"data {quoted_path(path)}: expected a file, or a pattern of .parquet or .tar files, found neither"
                f"{folder}"
            )
        files = _matching(path)
        fixed = next(place for place, part in enumerate(path.parts) if _WILD.search(part))
        path = Path(*path.parts[:fixed])
    else:
        return (), path
    if len(files) > _MAX_FILES:
        raise ManifestError(f"{quoted_path(path)} has {len(files)} Parquet files, expected at most {_MAX_FILES}")
    return files, path


def _is_of_pictures(pattern: Path) -> bool:
    return pattern.suffix.lower() in ENDINGS | {"", ".*"} and pattern.parent.is_dir()


def has_columns(path: Path, reading: Reading = TODAY) -> bool:
    """Say whether a located path stands for a table: not for tars, nor for a folder of pictures."""
    return not find_tars(path) and bool(find_parquets(path)[0] or not path.is_dir() or find_metadata(path, reading))


def has_objects(path: Path) -> bool:
    """Say whether a located path stands for tars, or for a folder with ``.json`` below it."""
    return bool(find_tars(path)) or any(path.rglob("*.[jJ][sS][oO][nN]"))


def _matching(pattern: Path) -> tuple[Path, ...]:
    """List the regular files that a pattern matches, in order."""
    found = (Path(name) for name in glob.glob(str(pattern), recursive=True))  # noqa: PTH207
    files = tuple(sorted(file for file in islice(found, _MAX_FILES + 1) if file.is_file()))
    if not files:
        raise ManifestError(f"data {quoted_path(pattern)}: expected at least one file like this, found none")
    return files


def _below(folder: Path) -> tuple[Path, ...]:
    """List the Parquet files below a folder; none if there is a picture or a tar, at the first of which this stops."""
    found: list[Path] = []

    def fail(error: OSError) -> None:
        raise ManifestError(f"folder {quoted_path(folder)} cannot be read: {error}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            ending = os.path.splitext(file)[1].lower()  # noqa: PTH122
            if file.startswith("."):
                continue
            if ending in ENDINGS or ending == ".tar":
                return ()
            if ending == ".parquet":
                found.append(Path(parent, file))
    return tuple(sorted(file for file in found if file.is_file()))


def _expand(pattern: str) -> list[str]:
    """Replace each range by its numbers, the first range varying slowest; zeros in front set the width."""
    names = [""]
    end = 0
    for found in _RANGE.finditer(pattern):
        first, last = int(found[1]), int(found[2])
        if not 0 <= last - first < _MAX_FILES // len(names):
            raise ManifestError(
                f"range {quoted(found[0])} in {quoted(pattern)}: expected 1 to {_MAX_FILES} tars in rising order"
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
    if _is_pattern(path):
        fixed = re.match(r"([^*?[]*?)[-_.]+[*?[]", path.name)  # a whole word, as in birds-*.parquet
        names = (fixed[1] if fixed else "", *(part for part in path.parts[-2:0:-1] if not _WILD.search(part)))
        return next((name for name in names if name.lower() not in _COMMON_STEMS), "")
    stem = re.sub(rf"[-_.]*{_RANGE.pattern}", "", path.stem)
    return path.parent.name if stem.lower() in _COMMON_STEMS and path.parent.name else stem


def safe_name(name: str) -> str:
    """Make a name safe as a file name: [A-Za-z0-9._-], no dot or hyphen in front, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:80].rstrip(".-") or "data"
