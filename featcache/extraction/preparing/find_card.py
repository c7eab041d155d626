"""Is there a GPU that makes Pillow's pixels of a picture, and does it decode JPEGs? Found out by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from featcache.encoders.loading import is_cuda, resolve_device
from featcache.errors import FeatcacheError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.card_tools import BatchDecoder
from featcache.extraction.preparing.recipe import Recipe
from featcache.pictures.jpeg_kind import read_jpeg_header
from featcache.pictures.nvjpeg_library import NvjpegError, find_nvjpeg, nvjpeg_advice

if TYPE_CHECKING:
    import torch

__all__ = ["CardMissing", "check_card", "find_card"]

_DRAWN = (192, 256)
_KEY = bytes(32)
_LOGGER = logging.getLogger(__name__)
_LANES = 2
_BY_CPU = "the GPU resizes pictures that the CPU decodes"


class CardMissing(FeatcacheError):
    """Pictures cannot be prepared on the card.

    Attributes
    ----------
    hint : str
        What to tell somebody who did not ask for it.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"--decoder card: {reason}; {advice or 'use --decoder auto'}")
        self.hint = f"the GPU does not prepare pictures: {reason}" + (f"; {advice}" if advice else "")


def check_card(recipe: Recipe, options: ExtractOptions) -> None:
    """Make sure that the card has something to do, as far as that can be told without trying.

    Raises
    ------
    CardMissing
        If the device is none, or no encoder takes what a card can make.
    """
    if not is_cuda(options.device):
        raise CardMissing("the device is no GPU", "run with --device cuda")
    if not Card.products_of(recipe):
        raise CardMissing(
            "nothing is asked for that a GPU makes: pictures at full size, for an encoder, under views but JPEG"
        )


def find_card(recipe: Recipe, options: ExtractOptions) -> Card:
    """Open the card for what it can make of pictures; without an engine for JPEGs it makes that of what a CPU decoded.

    Raises
    ------
    CardMissing
        If there is none, something that it needs is not installed, or it does not do what it should.
    """
    check_card(recipe, options)
    try:
        return _open_card(recipe, options)
    except CardMissing:
        raise
    except Exception as error:  # no Triton, no compiler for it, a driver that is too old
        raise CardMissing(_line(error)) from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _open_card(recipe: Recipe, options: ExtractOptions) -> Card:
    import torch

    from featcache.pictures.card.resizing import CardResizer
    from featcache.pictures.card.views import CardViews

    device = torch.device(resolve_device(options.device))
    wanted = {
        number: preprocessor
        for number, preprocessor in Card.products_of(recipe).items()
        if CardViews.takes(recipe.products[number][0]) and CardResizer.takes(preprocessor)
    }

    def open_lane() -> tuple[CardLane, str]:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            decoder, hint = _find_engine(device)
            resizers = {number: CardResizer(preprocessor, device) for number, preprocessor in wanted.items()}
            return CardLane(decoder, resizers, CardViews(device), stream), hint

    with torch.cuda.device(device):
        return _open_lanes(recipe, open_lane)


def _open_lanes(recipe: Recipe, open_lane: Callable[[], tuple[CardLane, str]]) -> Card:
    """Open lanes, and try them: one where the engine, or the memory, is not for more.

    Raises
    ------
    CardMissing
        If one makes other pixels than Pillow.
    """
    lanes: list[CardLane] = []
    hint = ""
    while len(lanes) < _LANES:
        try:
            lane, told = open_lane()
            reason = _try_out(recipe, lane)
        except Exception:  # whatever a driver raises
            if not lanes:
                raise
            _LOGGER.debug("the GPU has %d lanes", len(lanes), exc_info=True)
            break
        if reason:
            raise CardMissing(reason)
        if lanes and (lane.decoder is None) != (lanes[0].decoder is None):
            break
        hint = hint or told
        lanes.append(lane)
    return Card(recipe, *lanes, hint=hint)


def _find_engine(device: torch.device) -> tuple[BatchDecoder | None, str]:
    """Return who decodes JPEGs on the current GPU, if somebody does; what to tell if somebody could."""
    if (library := find_nvjpeg()) is None:
        reason = "nvJPEG is not installed, or cannot be loaded; if this GPU has an engine for JPEGs (A100, H100, "
        return None, f"{_BY_CPU}: {reason}H200, B200): {nvjpeg_advice()}"
    from featcache.pictures.card.decoding import CardDecoder
    from featcache.pictures.card.nvjpeg import Nvjpeg

    try:
        decoder = CardDecoder(Nvjpeg(library), device)
        reason = _try_engine(decoder)
    except NvjpegError as error:
        if error.is_no_engine:
            return None, ""
        reason = str(error)
    except Exception as error:  # as above
        reason = _line(error)
    return (None, f"{_BY_CPU}: {reason}") if reason else (decoder, "")


def _draw() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*_DRAWN, 3), dtype=np.uint8))


def _try_engine(decoder: BatchDecoder) -> str:
    """Have an engine decode a drawn picture; return what is wrong."""
    file = BytesIO()
    _draw().save(file, "JPEG", quality=90)
    header = read_jpeg_header(data := file.getvalue())
    assert header is not None
    (picture,) = decoder.decode([data], [header])
    if picture is None:
        return "its engine takes no plain JPEG"
    with Image.open(file) as opened:
        is_same = np.array_equal(picture.cpu().numpy(), np.asarray(opened.convert("RGB")))
    return "" if is_same else "the pixels of its engine are not Pillow's"


def _try_out(recipe: Recipe, lane: CardLane) -> str:
    """Have a lane make all that it is for of a drawn picture; return what is wrong."""
    if not lane.resizers:
        return "no encoder resizes as Pillow does"
    drawn = _draw()
    with lane.working():
        (picture,) = lane.upload([np.asarray(drawn)])
        for number, resizer in lane.resizers.items():
            view, spec = recipe.products[number]
            (seen,) = lane.under(view, [picture], [_KEY])
            own = None if seen is None else resizer.resize([seen])[0].cpu().numpy()
            if own is None or not np.array_equal(own, spec.prepare(view.apply(drawn, _KEY))):
                return "its resized pixels are not Pillow's" + ("" if view.is_clean else f" under the view {view}")
    return ""
