"""What a GPU makes otherwise than Pillow is found, and told by what was done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cards import FakeCardDecoder, FakeCardResizer

pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")

from benchmarks import card_equality
from benchmarks.card_equality import compare_real
from featcache.pictures.preprocess import Preprocessor


class WrongOnce(FakeCardResizer):
    """Makes one level of the first picture otherwise where it is to enlarge."""

    def __init__(self, way: Preprocessor, _: torch.device) -> None:
        super().__init__(way.pixels)
        self.is_wrong = way.size == (336, 336)

    def resize(self, pictures: Sequence[Tensor]) -> Tensor:
        found = super().resize(pictures)
        found[0, 0, 0, 0] ^= self.is_wrong
        return found


def test_pictures_are_counted_by_what_was_made_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        levels = rng.integers(0, 256, (20, 30 if number < 5 else 2010, 3), dtype=np.uint8)
        Image.fromarray(levels).save(tmp_path / f"{number}.jpg", subsampling="4:4:4")
    (tmp_path / "6.jpg").write_bytes(b"no picture")
    monkeypatch.setenv("FEATCACHE_TEST_MATERIAL", str(tmp_path))
    monkeypatch.setattr(card_equality, "CardResizer", WrongOnce)
    decoder = FakeCardDecoder(wrong=frozenset({1}), refused=frozenset({4}))
    others, same = compare_real(decoder, torch.device("cpu"))  # type: ignore[arg-type]
    assert others.values == (2,) and same.values == (2,) and same.at_least == 3
    assert others.note.replace("JPEG baseline 4:4:4: ", "") == (
        "greatest difference of levels 255; decoded otherwise 1, not taken 1, refused 1, "
        "resized otherwise: lanczos, larger 1, same 2, no JPEG: not taken 1"
    )
