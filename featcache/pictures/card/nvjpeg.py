"""The engine that some NVIDIA GPUs have for JPEGs, by the library nvJPEG: planes as they are stored.

It makes RGB too, but not Pillow's: it rounds green otherwise, and interpolates the chroma of narrow pictures that
libjpeg repeats. Its planes are those of libjpeg, with every nvJPEG that was tried. Names and numbers are those of
``nvjpeg.h``, which are the same in CUDA 12 and 13.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.pictures.nvjpeg_library import NvjpegError

__all__ = ["Nvjpeg"]

_HARDWARE = 3
_PLANES = 1
_FACTORS = {0: (1, 1), 1: (1, 2), 2: (2, 2), 3: (2, 1), 6: (0, 0)}
"""Pixels that a value of chroma stands for, down and across, by ``nvjpegChromaSubsampling_t``; 0 of a grey picture."""
_MOST_PLANES = 4
_REFUSALS = frozenset({3, 4, 9, 10})
"""Bad, or not supported, or incomplete: the fault of a file."""
Bytes = bytes | memoryview


class Nvjpeg:
    """The engine of the current GPU; for one thread.

    Parameters
    ----------
    name : str
        What `featcache.pictures.nvjpeg_library.find_nvjpeg` found.

    Raises
    ------
    NvjpegError
        If the GPU has no engine, or the driver is too old for the library.
    """

    def __init__(self, name: str) -> None:
        self._library = ctypes.CDLL(name)
        self._at_once = ctypes.PyDLL(name)  # for calls that are shorter than letting another thread go first
        self._handle, self._state, self._stream = (ctypes.c_void_p() for _ in range(3))
        self._told: tuple[NDArray[np.uint64], ...] = ()
        weakref.finalize(self, _destroy, self._library, self._handle, self._state, self._stream)
        backend, flags = ctypes.c_int(_HARDWARE), ctypes.c_uint(0)
        _check("open", self._library.nvjpegCreateEx(backend, None, None, flags, ctypes.byref(self._handle)))
        _check("open", self._library.nvjpegJpegStateCreate(self._handle, ctypes.byref(self._state)))
        _check("open", self._library.nvjpegJpegStreamCreate(self._handle, ctypes.byref(self._stream)))

    @property
    def version(self) -> str:
        """Of the library."""
        found = []
        for which in range(3):
            number = ctypes.c_int()
            _check("version", self._library.nvjpegGetProperty(ctypes.c_int(which), ctypes.byref(number)))
            found.append(str(number.value))
        return ".".join(found)

    def decode(self, files: Sequence[Bytes], sizes: NDArray[np.int64], addresses: NDArray[np.int64]) -> list[bool]:
        """Decode JPEGs on torch's current stream.

        Parameters
        ----------
        files : sequence of bytes or memoryview
            They are to stay until the stream is done.
        sizes : (n, 3, 2) int64
            Height and width of each plane as it is stored; 0 where there is none.
        addresses : (n, 3) int64
            Where it is to be put, in the memory of the GPU: rows one after the other.

        Returns
        -------
        list of bool
            Whether it is decoded; False: the engine does not take this file.

        Raises
        ------
        NvjpegError
            If it fails, for another reason than a file.
        """
        sources = np.array([(_address(data), len(data)) for data in files], np.uint64).reshape(-1, 2)
        results = np.zeros((len(files), 2, _MOST_PLANES), np.uint64)  # nvjpegImage_t: addresses, bytes a row
        results[:, 0, :3], results[:, 1, :3] = addresses, sizes[..., 1]
        asked = zip(sources.tolist(), sizes.tolist(), strict=True)
        taken = [i for i, ((address, size), planes) in enumerate(asked) if self._takes(address, size, planes)]
        done = set(self._decode(taken, sources, results))
        return [i in done for i in range(len(files))]

    def _takes(self, address: int, size: int, planes: list[list[int]]) -> bool:
        """Ask whether the engine decodes a file, and into planes of these sizes: it writes by its own reading of it."""
        parsed = self._at_once.nvjpegJpegStreamParseHeader(
            self._handle, ctypes.c_void_p(address), ctypes.c_size_t(size), self._stream
        )
        if parsed:
            return False
        answer, width, height, sampling = ctypes.c_int(-1), ctypes.c_uint(), ctypes.c_uint(), ctypes.c_int(-1)
        failed = (
            self._at_once.nvjpegDecodeBatchedSupported(self._handle, self._stream, ctypes.byref(answer))
            or self._at_once.nvjpegJpegStreamGetFrameDimensions(self._stream, ctypes.byref(width), ctypes.byref(height))
            or self._at_once.nvjpegJpegStreamGetChromaSubsampling(self._stream, ctypes.byref(sampling))
        )
        if failed or answer.value or sampling.value not in _FACTORS:
            return False
        down, across = _FACTORS[sampling.value]
        chroma = [-(-height.value // down), -(-width.value // across)] if down else [0, 0]
        return planes == [[height.value, width.value], chroma, chroma]

    def _decode(self, chosen: list[int], sources: NDArray[np.uint64], results: NDArray[np.uint64]) -> list[int]:
        """Decode some files; where there is one among them that cannot be, halves of them. Returns those that were."""
        if not chosen:
            return []
        status = self._decode_together(sources[chosen], results[chosen])
        if status in _REFUSALS:
            middle = len(chosen) // 2
            halves = (chosen[:middle], chosen[middle:]) if middle else ()
            return [i for half in halves for i in self._decode(half, sources, results)]
        _check("decode", status)
        return chosen

    def _decode_together(self, sources: NDArray[np.uint64], results: NDArray[np.uint64]) -> int:
        stream = torch.cuda.current_stream()
        # The state is that of one batch, and what it was told is let go of only now; and an engine does not wait for
        # the stream: what zeroes its planes there, and what still reads their memory, must be done.
        stream.synchronize()
        addresses, sizes = np.ascontiguousarray(sources.T)
        self._told = (addresses, sizes, results)
        n, one_thread, planes = ctypes.c_int(len(sources)), ctypes.c_int(1), ctypes.c_int(_PLANES)
        call = self._library.nvjpegDecodeBatchedInitialize
        _check("prepare", call(self._handle, self._state, n, one_thread, planes))
        own = (ctypes.c_void_p(each.ctypes.data) for each in self._told)
        return int(
            self._library.nvjpegDecodeBatched(self._handle, self._state, *own, ctypes.c_void_p(stream.cuda_stream))
        )


def _address(data: Bytes) -> int:
    return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])


def _check(what: str, status: int) -> None:
    if status:
        raise NvjpegError(what, status)


def _destroy(library: ctypes.CDLL, handle: ctypes.c_void_p, state: ctypes.c_void_p, stream: ctypes.c_void_p) -> None:
    if stream:
        library.nvjpegJpegStreamDestroy(stream)
    if state:
        library.nvjpegJpegStateDestroy(state)
    if handle:
        library.nvjpegDestroy(handle)
