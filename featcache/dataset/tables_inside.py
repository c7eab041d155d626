"""Tables that lie in a folder to be judged: read when asked for, and never believed about what is outside of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.cells import quoted_path
from featcache.dataset.readers.image_folder import find_metadata
from featcache.dataset.readers.left_out import Gap
from featcache.dataset.readers.location import find_parquets, locate
from featcache.dataset.sample import ImageFile, Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.identity.terms import Content

__all__ = ["find_tables", "read_tables"]

_OUTSIDE = "a table names it, and it is not in the folder: not looked at"


def find_tables(folder: Path) -> tuple[Path, ...]:
    """List the tables that a folder stands for as a data set: a manifest, metadata, or Parquet files and nothing else.

    Raises
    ------
    ManifestError
        There are several manifests, or a folder cannot be read.
    """
    located = locate(folder)
    return (located,) if located.is_file() else find_metadata(located) or find_parquets(located)[0]


def read_tables(folder: Path, tables: Sequence[Path], contents: Collection[Content]) -> Manifest:
    """Read what the tables of a resolved folder name in it, each picture with a caption once.

    Raises
    ------
    ManifestError
        They cannot be read, or one is a link out of the folder.
    """
    inside = _Inside(str(folder))
    for table in tables:
        if not table.resolve().is_relative_to(folder):
            raise ManifestError(f"table {quoted_path(table)} is a link out of the folder")
    found = Manifest.from_source(folder, on_orphan="skip", contents=contents)
    samples = SampleList.of(inside.keep(found.samples))
    missing = (gap if inside.find(gap.path) else Gap(gap.path, _OUTSIDE) for gap in found.orphans)
    notes = found.notes
    if inside.n_repeated:
        notes += (f"rows that name a picture once more: {inside.n_repeated:,}; it is judged once",)
    return replace(found, samples=samples, orphans=(*missing, *inside.outside), notes=notes)


class _Inside:
    """Tells paths in a folder from others, and keeps account of these and of what is named again."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._parents: dict[str, str] = {}
        self.outside: list[Gap] = []
        self.n_repeated = 0

    def find(self, path: str) -> str | None:
        """Return where a file is without links to folders in its path; None: not in the folder."""
        parent, name = os.path.split(os.path.join(self._folder, path))  # noqa: PTH118
        if parent not in self._parents:
            self._parents[parent] = os.path.realpath(parent)
        place = f"{self._parents[parent]}/{name}"
        is_inside = place.startswith(f"{self._folder}/") and name not in ("", ".", "..")
        return place if is_inside else None

    def keep(self, samples: SampleList) -> Iterator[Sample]:
        """Give samples whose pictures are in the folder or no files, those of one picture and caption once."""
        seen: set[tuple[str, str | None]] = set()
        for sample in samples:
            if not isinstance(sample.image, ImageFile):
                yield sample
            elif (place := self.find(sample.image.path)) is None:
                self.outside.append(Gap(sample.image.path, _OUTSIDE))
            elif (place, sample.caption) in seen:
                self.n_repeated += 1
            else:
                seen.add((place, sample.caption))
                yield replace(sample, image=ImageFile(place))
