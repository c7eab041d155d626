"""A card that is made up: a decoder that asks Pillow, lies or fails, and a resizer that does what the encoder does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegKind


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

    def decode(self, files: Sequence[bytes | memoryview]) -> list[torch.Tensor | None]:
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
    """Does what an encoder's ``prepare`` does to a picture."""

    prepare: Callable[[Image.Image], Any]
    most: int = 1000

    def resize(self, pictures: Sequence[torch.Tensor]) -> NDArray[np.uint8]:
        if len(pictures) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return np.stack([self.prepare(Image.fromarray(each.numpy())) for each in pictures])
