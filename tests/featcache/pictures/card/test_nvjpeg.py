"""What is told to nvJPEG, and what is made of its answers: the library is made up here."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featcache.pictures.card import nvjpeg
from featcache.pictures.card.nvjpeg import Nvjpeg
from featcache.pictures.nvjpeg_library import NvjpegError

SOUND, UNSUPPORTED, NO_JPEG, BAD, OTHER_SIZE = b"sound", b"unsupported", b"no JPEG", b"bad", b"other size"


class Library:
    """Decodes what is in order by writing its length; fails where one of a batch is bad."""

    def __init__(self, *, opens: int = 0, fails: int = 0) -> None:
        self.opens, self.fails = opens, fails
        self.batches: list[list[bytes]] = []
        self.destroyed: list[str] = []
        self.parsed = b""
        self.n = 0

    def nvjpegCreateEx(self, backend: Any, _: None, __: None, flags: Any, handle: Any) -> int:
        assert (backend.value, flags.value) == (3, 0)  # the engine, and nothing else
        handle._obj.value = 1
        return self.opens

    def nvjpegJpegStateCreate(self, _: Any, state: Any) -> int:
        state._obj.value = 2
        return 0

    def nvjpegJpegStreamCreate(self, _: Any, stream: Any) -> int:
        stream._obj.value = 3
        return 0

    def nvjpegGetProperty(self, which: Any, number: Any) -> int:
        number._obj.value = 12 + which.value
        return 0

    def nvjpegJpegStreamParseHeader(self, _: Any, address: Any, size: Any, __: Any) -> int:
        self.parsed = ctypes.string_at(address.value, size.value)
        return 3 if self.parsed == NO_JPEG else 0

    def nvjpegDecodeBatchedSupported(self, _: Any, __: Any, answer: Any) -> int:
        answer._obj.value = 2 if self.parsed == UNSUPPORTED else 0
        return 0

    def nvjpegJpegStreamGetFrameDimensions(self, _: Any, width: Any, height: Any) -> int:
        width._obj.value, height._obj.value = (6, 4) if self.parsed != OTHER_SIZE else (6, 8)
        return 0

    def nvjpegJpegStreamGetChromaSubsampling(self, _: Any, sampling: Any) -> int:
        sampling._obj.value = 2
        return 0

    def nvjpegDecodeBatchedInitialize(self, _: Any, __: Any, n: Any, n_threads: Any, output: Any) -> int:
        assert (n_threads.value, output.value) == (1, 1)  # planes
        self.n = n.value
        return 0

    def nvjpegDecodeBatched(self, _: Any, __: Any, sources: Any, sizes: Any, results: Any, stream: Any) -> int:
        assert stream.value == 77
        pointers = (ctypes.c_void_p * self.n).from_address(sources.value)
        lengths = (ctypes.c_size_t * self.n).from_address(sizes.value)
        images = np.ctypeslib.as_array((ctypes.c_uint64 * (8 * self.n)).from_address(results.value)).reshape(-1, 2, 4)
        files = [ctypes.string_at(pointer, size) for pointer, size in zip(pointers, lengths, strict=True)]
        self.batches.append(files)
        if self.fails or BAD in files:
            return self.fails or 3
        for data, (addresses, strides) in zip(files, images, strict=True):
            assert strides.tolist() == [6, 3, 3, 0] and addresses[3] == 0
            ctypes.memset(int(addresses[0]), len(data), 1)
        return 0

    def nvjpegJpegStreamDestroy(self, handle: Any) -> None:
        self.destroyed.append(f"stream {handle.value}")

    def nvjpegJpegStateDestroy(self, handle: Any) -> None:
        self.destroyed.append(f"state {handle.value}")

    def nvjpegDestroy(self, handle: Any) -> None:
        self.destroyed.append(f"library {handle.value}")


def open_engine(library: Library, monkeypatch: pytest.MonkeyPatch) -> Nvjpeg:
    for name in ("CDLL", "PyDLL"):
        monkeypatch.setattr(ctypes, name, lambda _: library)
    monkeypatch.setattr(
        nvjpeg.torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=77, synchronize=lambda: None)
    )
    return Nvjpeg("libnvjpeg.so")


def decode(engine: Nvjpeg, files: list[bytes]) -> tuple[list[bool], list[int]]:
    results = np.zeros((len(files), 3, 16), np.uint8)
    addresses = results.ctypes.data + np.arange(3 * len(files)).reshape(-1, 3) * 16
    sizes = np.array([[(4, 6), (2, 3), (2, 3)]] * len(files))
    return engine.decode([memoryview(files[0]), *files[1:]], sizes, addresses), results[:, 0, 0].tolist()


def test_files_that_the_engine_does_not_take_are_left_out_and_bad_ones_are_found_by_halving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = Library()
    files = [SOUND, UNSUPPORTED, SOUND + b"1", NO_JPEG, BAD, SOUND + b"22", OTHER_SIZE]
    done, first_bytes = decode(open_engine(library, monkeypatch), files)
    assert done == [True, False, True, False, False, True, False]
    assert first_bytes == [5, 0, 6, 0, 0, 7, 0]
    assert library.batches[0] == [SOUND, SOUND + b"1", BAD, SOUND + b"22"] and len(library.batches) == 5


def test_a_failure_that_is_no_files_fault_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NvjpegError, match="nvJPEG: decode: execution failed") as caught:
        decode(open_engine(Library(fails=6), monkeypatch), [SOUND])
    assert not caught.value.is_no_engine


def test_a_gpu_without_an_engine_is_told_apart_and_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(opens=7)
    with pytest.raises(NvjpegError, match="architecture mismatch") as caught:
        open_engine(library, monkeypatch)
    assert caught.value.is_no_engine
    sound = Library()
    engine = open_engine(sound, monkeypatch)
    assert engine.version == "12.13.14" and not sound.destroyed
    del engine
    assert sound.destroyed == ["stream 3", "state 2", "library 1"]
