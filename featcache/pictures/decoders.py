"""Who else than Pillow can make the pixels of a JPEG, and of which kinds."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcache.errors import FeatcacheError
from featcache.pictures.jpeg_kind import JpegKind

__all__ = ["FAST_ADVICE", "Decoder", "DecoderName", "SimpleJpeg", "find_decoder", "is_plain"]

DecoderName: TypeAlias = Literal["auto", "pillow", "card"]

FAST_ADVICE = "pip install 'featcache[fast]' decodes JPEGs to the same pixels in less time"

_SAMPLINGS = frozenset({"4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1"})


class Decoder(Protocol):
    """Makes Pillow's pixels of some kinds of JPEG, and refuses what it is not sure of; picklable, no state.

    It is never believed: `featcache.pictures.checked_decoder` compares samples of what it makes with Pillow's.
    """

    @property
    def name(self) -> str:
        """What it is called, such as ``simplejpeg``: a name that ``versions`` of a shard can have."""
        ...

    @property
    def version(self) -> str:
        """Of its library."""
        ...

    def takes(self, kind: JpegKind) -> bool:
        """Whether files of this kind were proved to be equal, in every bit."""
        ...

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        """Decode a JPEG of a kind that it takes, at its full size.

        Returns
        -------
        (height, width, 3) or (height, width, 4) uint8, or None
            RGB as stored, not turned by EXIF; a fourth channel means nothing. None: Pillow is to look at this file.
        """
        ...


def is_plain(kind: JpegKind) -> bool:
    """Whether a kind is one of those that libjpeg-turbo and its peers decode alike: baseline, 8 bits, YCbCr or grey."""
    is_known = kind.sampling in _SAMPLINGS if kind.colour == "YCbCr" else kind.colour == "grey" and not kind.sampling
    return kind.process == "baseline" and kind.precision == 8 and is_known and not kind.is_odd


@dataclass(frozen=True)
class SimpleJpeg:
    """libjpeg-turbo by the package simplejpeg: the arithmetic of Pillow's, without its detours.

    What libjpeg warns of, such as an early end, is refused: Pillow says whether that is a picture.
    """

    name: str = "simplejpeg"

    @property
    def version(self) -> str:
        """Of simplejpeg."""
        import simplejpeg

        return str(simplejpeg.__version__)

    def takes(self, kind: JpegKind) -> bool:
        """Whether files of this kind were proved to be equal, in every bit."""
        return is_plain(kind)

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        """Decode a JPEG to (height, width, 4); None if it is not quite in order."""
        from simplejpeg import decode_jpeg

        try:
            pixels: NDArray[np.uint8] = decode_jpeg(data, "RGBX", strict=True)
        except ValueError:
            return None
        return pixels


def find_decoder(name: DecoderName) -> Decoder | None:
    """Return who decodes JPEGs on the CPU beside Pillow; None: Pillow alone.

    Raises
    ------
    FeatcacheError
        If what is asked for is not there.
    """
    match name:
        case "pillow":
            return None
        case "auto":
            return _simplejpeg()
        case "card":
            if lacking := _what_a_card_lacks():
                raise FeatcacheError(f"--decoder card {lacking}, or --decoder auto")
            return _simplejpeg()


def _what_a_card_lacks() -> str:
    """Say what there has to be for a GPU to prepare pictures; what else it needs is found out by trying it."""
    if find_spec("triton") is None:
        return "needs Triton: pip install triton"
    import torch

    return "" if torch.cuda.is_available() else "needs an NVIDIA GPU, torch finds none: use --decoder pillow"


def _simplejpeg() -> Decoder | None:
    try:
        import simplejpeg  # noqa: F401
    except Exception:  # absent, or built for another numpy
        return None
    return SimpleJpeg()
