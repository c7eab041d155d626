"""What kind of JPEG a file is: told by its header, of which nothing is decoded.

Kinds are what decoders are trusted with: what gave Pillow's pixels for one file of a kind gives them for others of it.
Markers are those of ITU-T T.81 (1992), table B.1; which colours are stored is found out as libjpeg does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["JpegHeader", "JpegKind", "read_jpeg_header"]

_PROCESSES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SAMPLINGS = {
    ((1, 1), (1, 1), (1, 1)): "4:4:4",
    ((2, 1), (1, 1), (1, 1)): "4:2:2",
    ((2, 2), (1, 1), (1, 1)): "4:2:0",
    ((1, 2), (1, 1), (1, 1)): "4:4:0",
    ((4, 1), (1, 1), (1, 1)): "4:1:1",
    ((1, 1),): "",
}
_CMYK_TRANSFORM = 2


@dataclass(frozen=True, slots=True)
class JpegKind:
    """What a decoder has to be able to do.

    Attributes
    ----------
    process : str
        ``baseline``, ``extended``, ``progressive``, or ``other``: lossless, hierarchical or arithmetic.
    colour : str
        What is stored: ``YCbCr``, ``grey``, ``RGB``, ``CMYK``, ``YCCK``, or ``other``.
    sampling : str
        ``4:2:0`` and the like; ``""`` for one component; factors as they are stored, ``2x2,1x2,1x2``, if they have no
        such name.
    precision : int
        Bits a level.
    has_restarts : bool
        Whether there are restart markers between its blocks.
    is_odd : bool
        Whether its header has what few have: stray bytes, several frames, or a scan of some components only.
    """

    process: str
    colour: str
    sampling: str
    precision: int = 8
    has_restarts: bool = False
    is_odd: bool = False

    def __str__(self) -> str:
        words = [self.process, "" if self.colour == "YCbCr" else self.colour, self.sampling]
        words += [f"{self.precision} bits" if self.precision != 8 else ""]
        words += ["with restarts" if self.has_restarts else "", "with an odd header" if self.is_odd else ""]
        return " ".join(word for word in ("JPEG", *words) if word)


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a header says, up to the first scan.

    Attributes
    ----------
    kind : JpegKind
        What a decoder has to be able to do.
    width, height : int
        Size in pixels, as stored, before any EXIF rotation.
    restart_interval : int
        Blocks from one restart marker to the next; 0: there are none.
    has_exif, has_xmp, has_icc : bool
        Whether it has these data, of whatever content. Only the first two can say that a picture is to be turned.
    scan : int
        Where the data of the first scan begin, in bytes.
    """

    kind: JpegKind
    width: int
    height: int
    restart_interval: int = 0
    has_exif: bool = False
    has_xmp: bool = False
    has_icc: bool = False
    scan: int = 0


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the header of a JPEG; it takes about ten microseconds and never raises.

    Returns
    -------
    JpegHeader or None
        None if the bytes do not begin as a JPEG, or end before its first scan.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    seen = _Seen()
    at = 2
    while True:
        start = data.find(b"\xff", at)
        if start < 0:
            return None
        seen.is_odd |= start != at
        at = start + 1
        while data[at : at + 1] == b"\xff":  # any number of them may fill the place before a marker
            at += 1
        if at + 3 > len(data):
            return None
        marker, size = data[at], int.from_bytes(data[at + 1 : at + 3])
        if marker == 0 or marker in _ALONE:
            seen.is_odd = True
            at += 1
            continue
        body = data[at + 3 : at + 1 + size]
        if size < 2 or len(body) != size - 2:
            return None
        if marker == 0xDA:
            return seen.header(n_in_scan=body[0] if body else 0, scan=at + 1 + size)
        seen.note(marker, body)
        at += 1 + size


@dataclass
class _Seen:
    """What the segments of a header said up to now."""

    frame: int | None = None
    precision: int = 0
    width: int = 0
    height: int = 0
    components: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    restart_interval: int = 0
    has_jfif: bool = False
    transform: int | None = None
    names: set[bytes] = field(default_factory=set)
    is_odd: bool = False

    def note(self, marker: int, body: bytes) -> None:
        if marker in _FRAMES:
            self._note_frame(marker, body)
        elif marker == 0xDD and len(body) >= 2:
            self.restart_interval = int.from_bytes(body[:2])
        elif marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
            self.has_jfif = True
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            self.transform = body[11]
        elif marker in (0xE1, 0xE2):
            self.names.add(body[:28].split(b"\0")[0])
        elif marker == 0xD9 or marker == 0xDC:  # an end, or a height that is told later
            self.is_odd = True

    def _note_frame(self, marker: int, body: bytes) -> None:
        self.is_odd |= self.frame is not None or len(body) < 6 or len(body) != 6 + 3 * body[5]
        if self.frame is not None or len(body) < 6:
            return
        self.frame, self.precision = marker, body[0]
        self.height, self.width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
        parts = [body[at : at + 3] for at in range(6, 6 + 3 * body[5], 3)]
        self.components = [(part[0], (part[1] >> 4, part[1] & 15)) for part in parts if len(part) == 3]

    def header(self, *, n_in_scan: int, scan: int) -> JpegHeader | None:
        if self.frame is None or not self.components:
            return None
        factors = tuple(factor for _, factor in self.components)
        sampling = _SAMPLINGS.get(factors, ",".join(f"{across}x{down}" for across, down in factors))
        kind = JpegKind(
            _PROCESSES.get(self.frame, "other"),
            self._colour([each for each, _ in self.components]),
            sampling,
            self.precision,
            self.restart_interval > 0,
            self.is_odd or n_in_scan != len(factors) or not self.width or not self.height,
        )
        return JpegHeader(
            kind,
            self.width,
            self.height,
            self.restart_interval,
            has_exif=b"Exif" in self.names,
            has_xmp=any(name.startswith(b"http://ns.adobe.com/xap/1.0/"[:28]) for name in self.names),
            has_icc=b"ICC_PROFILE" in self.names,
            scan=scan,
        )

    def _colour(self, names: Sequence[int]) -> str:
        """Tell what is stored, as ``default_decompress_parms`` of libjpeg (jdapimin.c) does."""
        match len(names):
            case 1:
                return "grey"
            case 3 if self.has_jfif:
                return "YCbCr"
            case 3 if self.transform is not None:
                return "RGB" if self.transform == 0 else "YCbCr"
            case 3:
                return "RGB" if bytes(names) == b"RGB" else "YCbCr"
            case 4:
                return "YCCK" if self.transform == _CMYK_TRANSFORM else "CMYK"
            case _:
                return "other"
