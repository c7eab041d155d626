"""Pictures come to a device as they are, however many are copied at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featcache.pictures.card import uploading
from featcache.pictures.card.uploading import upload_pictures

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SIZES = [(1, 1), (7, 30), (40, 3), (25, 30), (2, 2)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("staged", [1, 700, 1 << 20])
def test_pictures_arrive_as_they_are(monkeypatch: pytest.MonkeyPatch, device: str, staged: int) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    monkeypatch.setattr(uploading, "_STAGED_BYTES", staged)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    expected = [picture.copy() for picture in pictures]
    found = upload_pictures(
        [np.frombuffer(each.data, np.uint8).reshape(each.shape) for each in pictures], torch.device(device)
    )
    for picture in pictures:
        picture[:] = 0  # it may be used again at once
    assert [each.device.type for each in found] == [device] * len(SIZES)
    for own, levels in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own.cpu(), levels)


def test_nothing_is_uploaded_of_nothing() -> None:
    assert upload_pictures([], torch.device("cpu")) == []
