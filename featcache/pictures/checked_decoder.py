"""A decoder beside Pillow that is checked, not believed: samples of what it makes are compared with Pillow's pixels.

Pillow reads every header and settles what is decided there; it decodes what the other one does not take, refuses or
got wrong. Reasons: docs/decisions/0029-who-decodes.md.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging

from featcache.errors import ImageError
from featcache.files.picture_formats import HEAD_BYTES, format_of_bytes
from featcache.pictures.decode import decode_rgb
from featcache.pictures.decode_rules import DECODE_RULES
from featcache.pictures.decoders import Decoder
from featcache.pictures.jpeg_kind import JpegKind, read_jpeg_header
from featcache.pictures.strips import is_same

__all__ = ["DECODED", "PILLOW", "CheckedDecoder", "Decoded", "Doubt", "Kind", "Way"]

_FIRST_OF_A_KIND = 2

DECODED: Literal["decoded pictures"] = "decoded pictures"
Kind: TypeAlias = JpegKind | Literal["decoded pictures"]
"""What somebody beside Pillow is trusted with: JPEGs of a kind, or what Pillow decoded, to be resized."""


@dataclass(frozen=True)
class Doubt:
    """Why a decoder is not trusted any more.

    Attributes
    ----------
    decoder : str
        Its name; empty if it is none of them that failed.
    reason : str
        One sentence without its subject: ``makes other pixels than Pillow of …``; with it if it names no decoder.
    kind : JpegKind, DECODED or None
        With which kind; None: with any.
    is_wrong : bool
        Whether its pixels were others: what else it made of this kind has to be made again.
    is_resizer : bool
        Whether it does not decode, but resizes what others decoded.
    """

    decoder: str
    reason: str
    kind: Kind | None
    is_wrong: bool = False
    is_resizer: bool = False


@dataclass(frozen=True)
class Way:
    """Which way a picture took from its bytes to pixels.

    Attributes
    ----------
    decoder : str
        Whose pixels it has: ``pillow``, or the name of a `Decoder`.
    why : str
        Why it was Pillow, if that is worth telling: what the file is, ``refused``, ``not trusted``, ``scaled``.
    kind : JpegKind, DECODED or None
        What somebody beside Pillow made pixels of; None if nobody did.
    doubt : Doubt or None
        What was found out about that one with this picture.
    resizer : str
        Who resized what Pillow decoded, if it was not Pillow: ``triton``, on a GPU.
    """

    decoder: str = "pillow"
    why: str = ""
    kind: Kind | None = None
    doubt: Doubt | None = None
    resizer: str = ""

    def __str__(self) -> str:
        who = f"{self.decoder}+{self.resizer}" if self.resizer else self.decoder
        return f"{who}: {self.why}" if self.why else who

    @property
    def maker(self) -> str:
        """Who is to be checked: the resizer of what Pillow decoded, else the decoder."""
        return self.resizer or self.decoder


PILLOW = Way()
"""The way of a picture that nobody but Pillow could have decoded."""


@dataclass(frozen=True)
class Decoded:
    """What came of the bytes of a picture: its pixels, or why there are none.

    Attributes
    ----------
    picture : PIL.Image.Image or ImageError
        Upright RGB, or what `decode_rgb` raised.
    way : Way
        Who decoded it.
    check_seconds : float
        Time that went into decoding it a second time, and comparing.
    """

    picture: Image.Image | ImageError
    way: Way = PILLOW
    check_seconds: float = 0.0

    def upright(self) -> Image.Image:
        """Return the picture, or raise what `decode_rgb` raised."""
        if isinstance(self.picture, ImageError):
            raise self.picture
        return self.picture


class CheckedDecoder:
    """A decoder, and how far it is trusted; threads may share one.

    The first pictures of each kind are decoded both ways, and all that the caller names; those have Pillow's pixels.

    Parameters
    ----------
    decoder : Decoder or None
        Who decodes what it takes; None: Pillow decodes everything.
    """

    def __init__(self, decoder: Decoder | None) -> None:
        self.decoder = decoder
        self._else = PILLOW
        self._distrusted: frozenset[JpegKind] = frozenset()
        self._met: Counter[JpegKind] = Counter()

    def distrust(self, kinds: frozenset[JpegKind]) -> None:
        """Have Pillow decode these kinds from now on."""
        self._distrusted |= kinds

    def give_up(self) -> None:
        """Have Pillow decode everything from now on."""
        self.decoder, self._else = None, Way(why="not trusted")

    def decode(
        self,
        data: bytes,
        *,
        at_least: tuple[int, int] | None = None,
        rules: int = DECODE_RULES,
        is_sample: bool = False,
    ) -> Decoded:
        """Decode a picture as `decode_rgb` does: the same pixels, the same failures.

        Parameters
        ----------
        data, at_least, rules
            As for `decode_rgb`.
        is_sample : bool
            Decode it both ways and compare, if there are two.
        """
        decoder = self.decoder
        if decoder is None:
            return Decoded(_try(data, at_least, rules), self._else)
        header = read_jpeg_header(data)
        if header is None:
            why = format_of_bytes(data[:HEAD_BYTES]) or "unknown"
        elif header.kind in self._distrusted:
            why = "not trusted"
        elif not decoder.takes(header.kind):
            why = str(header.kind)
        else:
            return self._decode_by(_Attempt(decoder, data, header.kind), at_least, rules, is_sample)
        return Decoded(_try(data, at_least, rules), Way(why=why))

    def _decode_by(self, attempt: _Attempt, at_least: tuple[int, int] | None, rules: int, is_sample: bool) -> Decoded:
        made, kind = _try(attempt.data, at_least, rules, attempt), attempt.kind
        if attempt.doubt:
            self.distrust(frozenset({kind}))
        if attempt.why:
            is_early = attempt.why == "scaled" and isinstance(made, ImageError)  # its header was enough
            return Decoded(made, PILLOW if is_early else Way(why=attempt.why, doubt=attempt.doubt))
        way = Way(attempt.decoder.name, kind=kind)
        self._met[kind] += 1
        if not is_sample and self._met[kind] > _FIRST_OF_A_KIND:
            return Decoded(made, way)
        started = time.perf_counter()
        expected = _try(attempt.data, at_least, rules)
        if not _is_same(made, expected):
            self.distrust(frozenset({kind}))
            doubt = Doubt(attempt.decoder.name, f"makes other pixels than Pillow of {kind}", kind, is_wrong=True)
            way = Way(why="not trusted", doubt=doubt)
        return Decoded(expected, way, time.perf_counter() - started)


class _Attempt:
    """One attempt of a decoder; Pillow decodes what it leaves. ``why`` it did is empty where the decoder did it."""

    def __init__(self, decoder: Decoder, data: bytes, kind: JpegKind) -> None:
        self.decoder, self.data, self.kind = decoder, data, kind
        self.why = "scaled"
        self.doubt: Doubt | None = None

    def __call__(self, size: tuple[int, int]) -> Image.Image | None:
        """Return the pixels of a picture of this (width, height) in RGB, as stored; None: Pillow is to decode it."""
        try:
            pixels = self.decoder.decode(self.data)
        except Exception as error:  # whatever a library raises: it is one that Pillow does without
            self._doubt(f"failed with {type(error).__name__} on {self.kind}: {' '.join(str(error).split())[:120]}")
            return None
        if pixels is None:
            self.why = "refused"
            return None
        if pixels.dtype != np.uint8 or pixels.shape[:-1] != size[::-1] or pixels.shape[-1] not in (3, 4):
            self._doubt(f"makes {pixels.dtype} of shape {pixels.shape} of {self.kind} of {size[0]} × {size[1]}")
            return None
        self.why = ""
        return _to_picture(np.ascontiguousarray(pixels), size)

    def _doubt(self, reason: str) -> None:
        self.why, self.doubt = "not trusted", Doubt(self.decoder.name, reason, self.kind)


def _to_picture(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Return RGB pixels as a picture; those with a fourth byte lie as Pillow has them, and are not copied."""
    if pixels.shape[-1] == 3:
        return Image.frombytes("RGB", size, pixels, "raw", "RGB")
    try:
        # Image.frombuffer would call it RGBX, and a conversion would copy. No documented function gives it its name.
        picture = Image.new("RGB", (0, 0))._new(_imaging.map_buffer(pixels, size, "raw", 0, ("RGB", 0, 1)))
    except Exception:  # another Pillow
        return Image.frombytes("RGB", size, pixels, "raw", "RGBX")
    picture.readonly = 1
    return picture


def _try(
    data: bytes, at_least: tuple[int, int] | None, rules: int, shortcut: _Attempt | None = None
) -> Image.Image | ImageError:
    try:
        return decode_rgb(data, at_least=at_least, rules=rules, shortcut=shortcut)
    except ImageError as error:
        return error


def _is_same(made: Image.Image | ImageError, expected: Image.Image | ImageError) -> bool:
    if isinstance(made, ImageError) or isinstance(expected, ImageError):
        return isinstance(made, ImageError) and isinstance(expected, ImageError)
    return is_same(made, expected)
