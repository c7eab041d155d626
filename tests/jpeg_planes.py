"""What a GPU's JPEG engine makes, made on a CPU: planes of a file as they are stored, and libjpeg's picture of them.

Markers and codes are those of ITU-T T.81 (1992); numbers are rounded as by libjpeg: ``jpeg_idct_islow`` (jidctint.c),
its range limit (jdmaster.c), "fancy" upsampling (jdsample.c) and colour conversion (jdcolor.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from huffman import HuffmanCode, JpegBits

Integers = NDArray[np.int64]
Plane = NDArray[np.uint8]

# How many pixels across and down share a sample of Cb and Cr.
SAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2), "4:4:0": (1, 2), "4:1:1": (4, 1)}

_BASELINE, _CODES, _SCAN, _TABLES, _INTERVAL = 0xC0, 0xC4, 0xDA, 0xDB, 0xDD
_OTHER_FRAMES = frozenset(range(0xC1, 0xD0)) - {_CODES, 0xC8, 0xCC}
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_AFTER_SCAN = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
# Row and column of each coefficient of a block, in the order of the file: antidiagonals, down and up in turn.
_ROWS, _COLUMNS = np.array(sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))).T


def decode_planes(data: bytes) -> list[Plane]:
    """Decode a baseline JPEG of one interleaved scan, grey or of three components, sampled as ``SAMPLINGS`` says.

    Returns
    -------
    list of NDArray of uint8
        Y, or Y, Cb and Cr (whatever is stored), each of shape (⌈height · v / vmax⌉, ⌈width · h / hmax⌉).

    Raises
    ------
    ValueError
        If it is another kind of file, or damaged.
    """
    try:
        header = _Header.read(data)
        return list(map(header.plane, header.components, header.blocks(data)))
    except LookupError as error:
        raise ValueError("JPEG is damaged: a byte of its header, or a table, is missing") from error


@dataclass(frozen=True)
class _Component:
    name: int
    across: int
    down: int
    table: int


@dataclass
class _Header:
    height: int = 0
    width: int = 0
    interval: int = 0
    components: list[_Component] = field(default_factory=list)
    tables: dict[int, list[int]] = field(default_factory=dict)
    codes: dict[int, HuffmanCode] = field(default_factory=dict)
    pairs: list[tuple[HuffmanCode, HuffmanCode]] = field(default_factory=list)
    scan: int = 0

    @classmethod
    def read(cls, data: bytes) -> _Header:
        header = cls()
        for marker, body, header.scan in _segments(data):
            if marker in _OTHER_FRAMES:
                raise ValueError(f"JPEG is not baseline: its frame is 0x{marker:x}")
            if marker == _BASELINE:
                header._note_frame(body)
            elif marker == _TABLES:
                header._note_tables(body)
            elif marker == _CODES:
                header._note_codes(body)
            elif marker == _INTERVAL:
                header.interval = int.from_bytes(body[:2])
        header._note_scan(body)
        return header

    def _note_frame(self, body: bytes) -> None:
        self.height, self.width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
        parts = [body[at : at + 3] for at in range(6, 6 + 3 * body[5], 3)]
        factors = [(part[1] >> 4, part[1] & 15) for part in parts]
        if body[0] != 8 or not self.height or not self.width or self.components:
            raise ValueError("JPEG has no size, several frames, or other than 8 bits")
        if len(parts) == 1:
            factors = [(1, 1)]  # blocks of one component follow each other, whatever its factors
        elif len(parts) != 3 or factors[0] not in SAMPLINGS.values() or factors[1:] != [(1, 1)] * 2:
            raise ValueError(f"JPEG has components of a sampling that is not taken: {factors!r}")
        self.components = [_Component(part[0], *factor, part[2]) for part, factor in zip(parts, factors, strict=True)]

    def _note_tables(self, body: bytes) -> None:
        if len(body) % 65 or any(each > 3 for each in body[::65]):
            raise ValueError("JPEG has quantization tables of other than 64 bytes")
        self.tables |= {body[at]: list(body[at + 1 : at + 65]) for at in range(0, len(body), 65)}

    def _note_codes(self, body: bytes) -> None:
        while body:
            end = 17 + sum(body[1:17])
            self.codes[body[0]] = HuffmanCode.from_counts(body[1:17], body[17:end])
            body = body[end:]

    def _note_scan(self, body: bytes) -> None:
        names = list(body[1 : 1 + 2 * body[0] : 2])
        if not names or names != [each.name for each in self.components]:
            raise ValueError(f"JPEG has a scan of components {names!r} only")
        chosen = body[2 : 2 + 2 * body[0] : 2]
        self.pairs = [(self.codes[each >> 4], self.codes[0x10 | each & 15]) for each in chosen]

    @property
    def _size_in_units(self) -> tuple[int, int]:
        """Rows and columns of the smallest coded units: the blocks of all components for the same pixels."""
        return -(-self.height // (8 * self.components[0].down)), -(-self.width // (8 * self.components[0].across))

    def blocks(self, data: bytes) -> list[list[list[int]]]:
        """Read the coefficients of each component, a list of 64 a block, in the order of the file."""
        end = _AFTER_SCAN.search(data, self.scan)
        if end is None or end[1] != b"\xd9":
            raise ValueError("JPEG has several scans, or is cut off")
        stretches = _RESTART.split(data[self.scan : end.start()])
        rows, columns = self._size_in_units
        n_units = rows * columns
        interval = self.interval or n_units
        expected = [bytes([0xD0 + number % 8]) for number in range(-(-n_units // interval) - 1)]
        if stretches[1::2] != expected:
            raise ValueError("JPEG has restart markers where it should not, or lacks some")
        found: list[list[list[int]]] = [[] for _ in self.components]
        for number, stretch in enumerate(stretches[::2]):
            self._read_stretch(JpegBits(stretch), min(interval, n_units - number * interval), found)
        return found

    def _read_stretch(self, bits: JpegBits, n_units: int, found: list[list[list[int]]]) -> None:
        previous = [0] * len(self.components)
        for _ in range(n_units):
            for at, (each, (dc, ac)) in enumerate(zip(self.components, self.pairs, strict=True)):
                for _ in range(each.across * each.down):
                    found[at].append(bits.block(dc, ac, previous[at]))
                    previous[at] = found[at][-1][0]

    def plane(self, component: _Component, blocks: list[list[int]]) -> Plane:
        coefficients = np.zeros((len(blocks), 8, 8), np.int64)
        coefficients[:, _ROWS, _COLUMNS] = np.array(blocks) * np.array(self.tables[component.table])
        levels = inverse_dct(coefficients)
        rows, columns = self._size_in_units
        levels = levels.reshape(rows, columns, component.down, component.across, 8, 8).transpose(0, 2, 4, 1, 3, 5)
        height = -(-self.height * component.down // self.components[0].down)
        width = -(-self.width * component.across // self.components[0].across)
        return levels.reshape(rows * component.down * 8, -1)[:height, :width]


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Read segments up to that of the scan: marker, content, and where the next begins."""
    at, marker = 2, 0
    if data[:2] != b"\xff\xd8":
        raise ValueError("file is no JPEG")
    while marker != _SCAN:
        if data[at] != 0xFF:
            raise ValueError(f"JPEG has no marker where one should be, at byte {at}")
        while data[at] == 0xFF:
            at += 1
        marker, size = data[at], int.from_bytes(data[at + 1 : at + 3])
        body, at = data[at + 3 : at + 1 + size], at + 1 + size
        yield marker, body, at


def inverse_dct(coefficients: Integers) -> Plane:
    """Transform dequantized blocks, of shape (n_blocks, 8, 8), into levels."""
    levels = _inverse_pass(_inverse_pass(coefficients, 1, 13 - 2), 2, 13 + 2 + 3)
    wrapped = (levels + 512 & 1023) - 512  # libjpeg looks levels up in a table of 1,024
    return (wrapped + 128).clip(0, 255).astype(np.uint8)


def _inverse_pass(values: Integers, axis: int, shift: int) -> Integers:
    x0, x1, x2, x3, x4, x5, x6, x7 = np.moveaxis(values, axis, 0)
    z = (x2 + x6) * 4433
    sums, differences = x0 + x4 << 13, x0 - x4 << 13
    even = [sums + z + x2 * 6270, differences + z - x6 * 15137]
    even += [differences - z + x6 * 15137, sums - z - x2 * 6270]
    z5 = (x7 + x3 + x5 + x1) * 9633
    z1, z2, z3, z4 = (x7 + x1) * -7373, (x5 + x3) * -20995, (x7 + x3) * -16069 + z5, (x5 + x1) * -3196 + z5
    odd = [x1 * 12299 + z1 + z4, x3 * 25172 + z2 + z3, x5 * 16819 + z2 + z4, x7 * 2446 + z1 + z3]
    ends = [a + b for a, b in zip(even, odd, strict=True)] + [a - b for a, b in zip(even[::-1], odd[::-1], strict=True)]
    return np.stack(ends, axis) + (1 << shift - 1) >> shift


def upsampled(planes: Sequence[Plane], sampling: str, height: int, width: int) -> list[Plane]:
    """Make planes of a picture's own height and width."""
    return [planes[0], *(_upsampled(each, sampling)[:height, :width].astype(np.uint8) for each in planes[1:])]


def _upsampled(plane: Plane, sampling: str) -> Integers:
    across, down = SAMPLINGS[sampling]
    levels = plane.astype(np.int64)
    if across == 4 or (across == 2 and plane.shape[1] <= 2):  # too narrow for libjpeg to interpolate
        return levels.repeat(down, 0).repeat(across, 1)
    if sampling == "4:2:2":
        return _twice(levels, 1, first=1, second=2, bits=2)
    if sampling == "4:4:0":
        return _twice(levels, 0, first=1, second=2, bits=2)
    if sampling == "4:2:0":
        return _twice(_twice(levels, 0, first=0, second=0, bits=0), 1, first=8, second=7, bits=4)
    return levels


def _twice(levels: Integers, axis: int, *, first: int, second: int, bits: int) -> Integers:
    """Make two of each level: three parts of it and one of its neighbour; ``first`` and ``second`` are for rounding."""
    size = levels.shape[axis]
    before = levels.take(np.arange(-1, size - 1).clip(0), axis)
    after = levels.take(np.arange(1, size + 1).clip(None, size - 1), axis)
    pairs = [3 * levels + before + first >> bits, 3 * levels + after + second >> bits]
    return np.stack(pairs, axis + 1).reshape([2 * n if at == axis else n for at, n in enumerate(levels.shape)])


def rgb(planes: Sequence[Plane]) -> NDArray[np.uint8]:
    """Convert planes of one size, Y or Y, Cb and Cr, into a picture of shape (height, width, 3)."""
    if len(planes) == 1:
        return np.stack([planes[0]] * 3, 2)
    y, cb, cr = (plane.astype(np.int64) - offset for plane, offset in zip(planes, (0, 128, 128), strict=True))
    half = 1 << 15
    red = y + (91881 * cr + half >> 16)
    green = y + (-22554 * cb - 46802 * cr + half >> 16)
    blue = y + (116130 * cb + half >> 16)
    return np.stack([red, green, blue], 2).clip(0, 255).astype(np.uint8)
