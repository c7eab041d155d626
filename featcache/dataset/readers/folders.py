"""Folders of pictures: captions in sidecar files, labels and splits in the names of folders."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from posixpath import basename, splitext

from featcache.dataset.readers.cells import decode_caption, quoted
from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.outcome import (
    MissingWords,
    OnOrphan,
    Parsed,
    check_unique,
    find_image,
    settle_orphans,
)
from featcache.dataset.readers.reading import Reading
from featcache.dataset.sample import ImageFile, Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError

__all__ = ["IMAGE_ENDINGS", "read_folder"]

IMAGE_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
_NOTES = ("readme", "license", "notice")


def read_folder(folder: Path, *, on_orphan: OnOrphan, reading: Reading) -> Parsed:
    """Read all pictures below a folder, in sorted order.

    Hidden files and folders are ignored, links to folders are not followed. The caption of ``a/1.jpg`` is
    the text of ``a/1.txt`` (UTF-8, without newlines at its end); without that file it is missing. Text
    files named like README, LICENSE or NOTICE that have no picture beside them are about the folder. The
    sample's id is ``a/1``, or ``a/1.jpg`` if another picture has the same stem.

    Splits and labels come from the names of folders (`featcache.dataset.readers.layout`).

    Raises
    ------
    ManifestError
        There is no picture, a caption is not UTF-8, a name is not Unicode, labels cannot be told, or there are
        orphans: captions without picture, names of pictures that are no regular files.
    """
    names = sorted(_walk(folder))
    pictures = [name for name in names if splitext(name)[1].lower() in IMAGE_ENDINGS]
    if not pictures:
        expected = ", ".join(sorted(IMAGE_ENDINGS))
        if any(name.lower().endswith(".tar") for name in names):
            expected += "; a folder of tars must hold nothing else, name them as 'DIR/train-{000..012}.tar'"
        raise ManifestError(f"folder {quoted(str(folder))} holds no pictures, expected files named {expected}")
    captions = {_stem(name): name for name in names if name.lower().endswith(".txt")}
    labels, notes = label_paths(f"folder {quoted(str(folder))}", pictures, reading)
    ids = _ids_of(pictures)
    stems = {_stem(name) for name in pictures}
    orphans = [
        f"{quoted(str(folder / name))}: the caption has no picture beside it"
        for stem, name in captions.items()
        if stem not in stems and not basename(name).lower().startswith(_NOTES)
    ]

    missing = MissingWords(reading)

    def rows() -> Iterator[Sample]:
        for name in pictures:
            image = find_image(name, str(folder))
            if isinstance(image, str):
                orphans.append(f"folder {quoted(str(folder))}: {image}")
                continue
            sidecar = captions.get(_stem(name))
            caption = None if sidecar is None else missing.drop(_read_caption(f"{folder}/{sidecar}"))
            split, label_a, label_b = labels[_folders(name)]
            yield Sample(ids[name], image, caption, label_a, label_b, split, None, repr(image.path))

    samples = SampleList.of(rows())
    settle_orphans(orphans, len(samples), on_orphan)
    check_unique(samples)
    generators = tuple(sorted({*samples.class_names} - {"real"}))
    return Parsed(samples, generators, tuple(orphans), notes=notes + missing.notes)


def _walk(folder: Path) -> Iterator[str]:
    """Give the relative posix paths of all files that are not hidden."""

    def fail(error: OSError) -> None:
        raise ManifestError(f"folder {quoted(str(folder))} cannot be read: {error}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = Path(parent).relative_to(folder).as_posix()
        prefix = "" if place == "." else f"{place}/"
        for file in files:
            if not file.startswith("."):
                name = f"{prefix}{file}"
                try:
                    name.encode()
                except UnicodeEncodeError as error:
                    raise ManifestError(
                        f"file {quoted(name)} in {quoted(str(folder))}: expected a name in UTF-8, rename it"
                    ) from error
                yield name


def _stem(name: str) -> str:
    return splitext(name)[0]


def _folders(name: str) -> tuple[str, ...]:
    return tuple(name.split("/")[:-1])


def _ids_of(pictures: Sequence[str]) -> dict[str, str]:
    counts = Counter(map(_stem, pictures))
    ids = {name: _stem(name) if counts[_stem(name)] == 1 else name for name in pictures}
    # a/1.jpg with a/1.png beside a/1.jpg.gif: the whole names are the only ids that never collide
    return ids if len(set(ids.values())) == len(ids) else {name: name for name in pictures}


def _read_caption(path: str) -> str | None:
    try:
        return decode_caption(ImageFile(path).read_bytes())
    except ValueError as error:
        raise ManifestError(f"{quoted(path)}: {error}") from error
    except OSError as error:
        raise ManifestError(f"caption {quoted(path)} cannot be read: {error}") from error
