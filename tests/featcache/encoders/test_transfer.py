"""A batch is the same on its device whether its rows come from the host, from a window of the card, or from both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featcache.encoders.transfer import send_stacked

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, NEEDS_GPU])]
ROWS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [6, 9])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 1, 1, 4, 0, 0]], ids=["as made", "as it comes"])
@pytest.mark.parametrize("on_host", [[0, 1, 2, 3, 4, 5], [], [0], [1, 4, 5], [0, 1, 2, 3, 4]], ids=str)
def test_rows_of_the_host_and_of_the_device_make_one_batch(
    device: str, size: int, order: list[int], on_host: list[int]
) -> None:
    window = torch.from_numpy(ROWS).to(device).unbind()
    rows = [ROWS[i] if at in on_host else window[i] for at, i in enumerate(order)]
    found = send_stacked(rows, size, device)
    assert found.device.type == device and found.dtype == torch.uint8
    np.testing.assert_array_equal(found[:6].cpu(), ROWS[order])
    assert found.shape == (size, 5, 4, 3) and not found[6:].any()


@pytest.mark.cuda
@NEEDS_GPU
@pytest.mark.parametrize("is_told", [True, False])
def test_memory_of_rows_is_not_used_again_before_they_were_read(is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_told:  # so that it is known that this can fail
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    torch.cuda.empty_cache()  # no other memory of this stream is there to be used
    others = torch.cuda.Stream()
    shape = (64, 64, 64, 3)
    with torch.cuda.stream(others):
        window = torch.full(shape, 1, dtype=torch.uint8, device="cuda")
    others.synchronize()
    send_stacked(list(window.unbind()), 64, "cuda")  # a kernel that is loaded by its first use may wait for all others
    torch.cuda.synchronize()
    address = window.data_ptr()
    torch.cuda._sleep(1 << 30)  # the forward before
    found = send_stacked(list(window.unbind()), 64, "cuda")
    del window
    with torch.cuda.stream(others):
        later = torch.full(shape, 2, dtype=torch.uint8, device="cuda")
    is_used_again = later.data_ptr() == address
    torch.cuda.synchronize()
    assert is_used_again is not is_told
    assert bool((found == 1).all()) is is_told
