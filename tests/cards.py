"""A card that is made up: what its engine, its decoder (which can lie or fail) and its resizer do is done by a CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from featcache.errors import ImageError
from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind
from featcache.pictures.views import View

from jpeg_planes import decode_planes


@dataclass
class FakeCardDecoder:
    """Decodes by Pillow; ``wrong`` are numbers of pictures, by their order, of which it makes negatives."""

    wrong: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    most: int = 1000
    error: Exception | None = None
    fails_from: int = 0
    n_seen: int = 0
    calls: list[int] = field(default_factory=list)
    name: str = "fake"
    version: str = "1.0"

    def takes(self, kind: JpegKind) -> bool:
        return is_plain(kind)

    def decode(self, files: Sequence[bytes | memoryview], headers: Sequence[JpegHeader]) -> list[torch.Tensor | None]:
        self.calls.append(len(files))
        if len(files) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.error is not None and self.n_seen >= self.fails_from:
            raise self.error
        found: list[torch.Tensor | None] = []
        for data in files:
            levels = np.array(Image.open(BytesIO(data)).convert("RGB"))
            if self.n_seen in self.wrong:
                levels ^= 255
            found.append(None if self.n_seen in self.refused else torch.from_numpy(levels))
            self.n_seen += 1
        return found


@dataclass
class FakeCardResizer:
    """Does what an encoder's ``prepare`` does; of pictures from ``wrong_from`` on, by their order, not quite."""

    prepare: Callable[[Image.Image], Any]
    most: int = 1000
    wrong_from: int = 1_000_000
    n_seen: int = 0
    name: str = "scaler"
    version: str = "2.0"

    def resize(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        if len(pictures) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        made = [np.array(self.prepare(Image.fromarray(each.numpy()))) for each in pictures]
        for levels in made:
            levels.flat[0] ^= self.n_seen >= self.wrong_from
            self.n_seen += 1
        return torch.from_numpy(np.stack(made))


class FakePerturber:
    """Does what a view does to a picture."""

    def apply(self, view: View, pictures: Sequence[torch.Tensor], keys: Sequence[bytes]) -> list[torch.Tensor | None]:
        found: list[torch.Tensor | None] = []
        for picture, key in zip(pictures, keys, strict=True):
            try:
                found.append(torch.from_numpy(np.array(view.apply(Image.fromarray(picture.numpy()), key))))
            except ImageError:
                found.append(None)
        return found


class FakePlaneEngine:
    """Writes the planes of baseline JPEGs to addresses in a CPU's memory; refuses what has none, or others."""

    version = "test"

    def decode(
        self, files: Sequence[bytes | memoryview], sizes: NDArray[np.int64], addresses: NDArray[np.int64]
    ) -> list[bool]:
        return [_write_planes(*each) for each in zip(files, sizes.tolist(), addresses.tolist(), strict=True)]


def _write_planes(data: bytes | memoryview, sizes: list[list[int]], addresses: list[int]) -> bool:
    try:
        planes = decode_planes(bytes(data))
    except ValueError:
        return False
    if [list(plane.shape) for plane in planes] != [size for size in sizes if size != [0, 0]]:
        return False
    for plane, address in zip(planes, addresses, strict=False):
        ctypes.memmove(address, plane.tobytes(), plane.size)
    return True
