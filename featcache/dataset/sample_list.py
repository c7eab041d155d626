"""The samples of a manifest in columns: a few hundred bytes each, where an object each would take a kilobyte."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from featcache.dataset.sample import ImageFile, ImageSource, Sample
from featcache.errors import ManifestError
from featcache.files.string_column import StringBuilder, StringColumn
from featcache.identity.terms import SPLITS

__all__ = ["SampleList"]

_SPLITS = ("", *SPLITS)


@dataclass(frozen=True, eq=False)
class SampleList(Sequence[Sample]):
    """Samples in the order of their source; a `Sample` is made when one is asked for.

    Attributes
    ----------
    sample_id, caption, group, where, origin : StringColumn
        As `Sample` has them; ``""`` for None.
    path : StringColumn
        Of pictures in files; ``""`` for samples without one.
    others : mapping of int to ImageSource
        Pictures that are elsewhere than in a file of their own, by row.
    label_a : (n,) int8
        0 real, 1 AI, -1 unknown.
    class_names : tuple of str
        What the codes of ``label_b`` mean, in the order of their first appearance.
    label_b : (n,) int16
        Positions of the makers in ``class_names``, -1 unknown.
    split_code : (n,) int8
        Positions of the splits in ``("", *SPLITS)``.
    """

    sample_id: StringColumn
    caption: StringColumn
    group: StringColumn
    where: StringColumn
    origin: StringColumn
    path: StringColumn
    others: Mapping[int, ImageSource]
    label_a: NDArray[np.int8]
    class_names: tuple[str, ...]
    label_b: NDArray[np.int16]
    split_code: NDArray[np.int8]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> SampleList:
        """Pack samples, one after the other.

        Raises
        ------
        ManifestError
            If a text of one is no valid Unicode, nor the name of a file.
        """
        columns = _Columns()
        for sample in samples:
            try:
                columns.append(sample)
            except UnicodeEncodeError as error:
                raise ManifestError(f"{sample.where}: {error.object[:80]!r} is no valid Unicode text") from None
        return columns.pack()

    def __len__(self) -> int:
        return len(self.label_a)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> SampleList: ...

    def __getitem__(self, index: int | slice) -> Sample | SampleList:
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        row = range(len(self))[index]
        code = int(self.label_b[row])
        return Sample(
            self.sample_id[row],
            self.image(row),
            self.caption[row] or None,
            int(self.label_a[row]),
            self.class_names[code] if code >= 0 else None,
            _SPLITS[self.split_code[row]] or None,
            self.group[row] or None,
            self.where[row],
            self.origin[row] or None,
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SampleList):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def select(self, rows: Iterable[int]) -> SampleList:
        """Return some of the samples."""
        return SampleList.of(self[row] for row in rows)

    def image(self, row: int) -> ImageSource | None:
        """Return the picture of one sample."""
        path = self.path[row]
        return ImageFile(path) if path else self.others.get(row)

    @property
    def has_file(self) -> NDArray[np.bool_]:
        """Which samples have a picture in a file of its own: (n,)."""
        return self.path.is_filled

    @property
    def has_image(self) -> NDArray[np.bool_]:
        """Which samples name a picture: (n,)."""
        found = self.has_file
        found[list(self.others)] = True
        return found

    @property
    def source(self) -> StringColumn:
        """What each sample's picture is called, ``""`` for those without one."""
        if not self.others:
            return self.path
        images = map(self.image, range(len(self)))
        return StringColumn.from_strings(image.name if image else "" for image in images)

    @property
    def split(self) -> NDArray[np.str_]:
        """The split of each sample, ``""`` for none: (n,)."""
        return np.array(_SPLITS)[self.split_code]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns that grow."""

    strings: tuple[StringBuilder, ...] = field(default_factory=lambda: tuple(StringBuilder() for _ in range(6)))
    others: dict[int, ImageSource] = field(default_factory=dict)
    label_a: array[int] = field(default_factory=lambda: array("b"))
    classes: dict[str, int] = field(default_factory=dict)
    label_b: array[int] = field(default_factory=lambda: array("h"))
    split: array[int] = field(default_factory=lambda: array("b"))

    def append(self, sample: Sample) -> None:
        image = sample.image
        path = image.path if isinstance(image, ImageFile) else ""
        if image is not None and not path:
            self.others[len(self.label_a)] = image
        texts = (
            sample.sample_id, sample.caption or "", sample.group or "", sample.where, sample.origin or "", path,
        )  # fmt: skip
        for column, text in zip(self.strings, texts, strict=True):
            column.append(text)
        self.label_a.append(sample.label_a)
        name = sample.label_b
        self.label_b.append(-1 if name is None else self.classes.setdefault(name, len(self.classes)))
        self.split.append(_SPLITS.index(sample.split or ""))

    def pack(self) -> SampleList:
        sample_id, caption, group, where, origin, path = (column.pack() for column in self.strings)
        return SampleList(
            sample_id, caption, group, where, origin, path, self.others,
            label_a=np.frombuffer(self.label_a, np.int8),
            class_names=tuple(self.classes),
            label_b=np.frombuffer(self.label_b, np.int16),
            split_code=np.frombuffer(self.split, np.int8),
        )  # fmt: skip
