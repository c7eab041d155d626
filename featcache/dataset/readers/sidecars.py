"""Files beside pictures, and what of them is a caption."""

from __future__ import annotations

from collections.abc import Mapping

from featcache.dataset.readers.cells import FIELDS, decode_caption, parse_cell, parse_object, quoted
from featcache.dataset.readers.outcome import MissingWords
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.dataset.readers.tree import SIDECARS
from featcache.dataset.sample import ImageFile
from featcache.errors import ManifestError
from featcache.files.regular import open_regular

__all__ = ["SIDECAR_LIMIT", "CaptionReader", "find_caption"]

SIDECAR_LIMIT = 2**20
"""Bytes of a metadata object; a longer one is not read."""


def find_caption(values: Mapping[str, object]) -> object:
    """Return the caption of an object, by its keys in lower case: as it is, None if it has none."""
    return next((values[name] for name in FIELDS["caption"] if values.get(name) is not None), None)


class CaptionReader:
    """Reads captions from the files beside pictures of one folder, and counts those that are not what they should be.

    Parameters
    ----------
    folder : str
        Where the files are.
    reading : Reading
        By which rules: the first version read ``.txt`` alone.
    """

    def __init__(self, folder: str, reading: Reading) -> None:
        self._folder = folder
        self._endings = SIDECARS if reading.rules > 1 else SIDECARS[:1]
        self._missing = MissingWords(reading)
        self._odd: list[str] = []

    def read(self, found: Mapping[str, str]) -> str | None:
        """Return the caption of a picture that has these files beside it, by ending: of the first that has any.

        Raises
        ------
        ManifestError
            A text is not UTF-8, or cannot be read.
        """
        for ending in self._endings:
            if ending in found:
                name = found[ending]
                caption = self._of_object(name) if ending == ".json" else self._of_text(f"{self._folder}/{name}")
                if (caption := self._missing.drop(caption)) is not None:
                    return caption
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the files that were read."""
        if not self._odd:
            return self._missing.notes
        what = f"{len(self._odd):,} .json beside pictures cannot be read as an object with a caption"
        return (*self._missing.notes, f"{what}, the first {quoted(self._odd[0])}: left alone")

    def _of_text(self, path: str) -> str | None:
        try:
            return decode_caption(ImageFile(path).read_bytes())
        except ValueError as error:
            raise ManifestError(f"{quoted(path)}: {error}") from error
        except OSError as error:
            raise ManifestError(f"caption {quoted(path)} cannot be read: {error}") from error

    def _of_object(self, name: str) -> str | None:
        try:
            with open_regular(f"{self._folder}/{name}") as file:
                data = file.read(SIDECAR_LIMIT + 1)
            if len(data) > SIDECAR_LIMIT:
                raise ValueError(f"more than {SIDECAR_LIMIT} bytes")
            values = {key.lower(): value for key, value in parse_object(data).items()}
            caption = parse_cell("caption", find_caption(values), TODAY)
        except (OSError, ValueError, RecursionError):
            self._odd.append(name)
            return None
        return caption if isinstance(caption, str) else None
