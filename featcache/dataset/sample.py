"""One row of a data set, and the picture that it names."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from featcache.files.regular import open_unbuffered

__all__ = ["ImageFile", "ImageSource", "Sample"]


@runtime_checkable
class ImageSource(Protocol):
    """One encoded picture that can be read when it is needed."""

    @property
    def name(self) -> str:
        """Say where the picture is, for messages and the sample table."""
        ...

    def read_bytes(self) -> bytes:
        """Read the encoded picture.

        Raises
        ------
        OSError
            The picture cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture in a regular file.

    Attributes
    ----------
    path : str
        The path as resolved against the manifest's folder.
    """

    path: str

    @property
    def name(self) -> str:
        """Give the path."""
        return self.path

    def read_bytes(self) -> bytes:
        """Read the file; devices, FIFOs, sockets and folders are refused without being opened.

        Raises
        ------
        OSError
            The path names no regular file, or the file cannot be read.
        """
        with open_unbuffered(self.path) as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class Sample:
    """One row: a picture, a caption, or both, with what is known about it.

    Attributes
    ----------
    sample_id : str
        Name of the sample, unique in its manifest.
    image : ImageSource or None
        Where the picture comes from; None: none is named.
    caption : str or None
        The exact text; None: missing. Never empty.
    label_a : int
        0 real, 1 AI, -1 unknown.
    label_b : str or None
        The generator's class name, "real" for real rows; None: unknown.
    split : str or None
        One of `SPLITS`; None: not assigned.
    group : str or None
        Rows of one group must not be divided between splits.
    where : str
        The row's place for messages, such as "manifest.csv, row 12" (from 1, the header not counted).
    origin : str or None
        Where the row comes from, as the data say; None: they do not.
    """

    sample_id: str
    image: ImageSource | None
    caption: str | None
    label_a: int
    label_b: str | None
    split: str | None
    group: str | None
    where: str
    origin: str | None = None
