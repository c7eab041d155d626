"""Is there a GPU that decodes JPEGs, and makes Pillow's pixels of a picture? Found out by trying."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from featcache.encoders.loading import is_cuda, resolve_device
from featcache.errors import FeatcacheError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing.card import Card, Resizer
from featcache.extraction.preparing.recipe import Recipe
from featcache.pictures.card.nvjpeg import NvjpegError
from featcache.pictures.jpeg_kind import read_jpeg_header
from featcache.pictures.nvjpeg_library import find_nvjpeg, nvjpeg_advice
from featcache.pictures.preprocess import Preprocessor

__all__ = ["CardMissing", "check_card", "find_card"]

_DRAWN = (192, 256)


class CardMissing(FeatcacheError):
    """Pictures cannot be prepared on the card.

    Attributes
    ----------
    hint : str
        What to tell somebody who did not ask for it.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"--decoder card: {reason}; {advice or 'use --decoder auto'}")
        self.hint = f"the GPU does not decode pictures: {reason}" + (f"; {advice}" if advice else "")


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
        raise CardMissing("no encoder takes the picture itself at its full size")


def find_card(recipe: Recipe, options: ExtractOptions) -> Card:
    """Open the card for what it can make of pictures.

    Raises
    ------
    CardMissing
        If there is none, something that it needs is not installed, or it does not do what it should.
    """
    check_card(recipe, options)
    if (library := find_nvjpeg()) is None:
        raise CardMissing("nvJPEG is not installed, or cannot be loaded", nvjpeg_advice())
    try:
        card = _open_card(recipe, options, library)
        with card.working():
            reason = _try_out(card)
    except NvjpegError as error:
        reason = "this GPU has no engine for JPEGs" if error.is_no_engine else str(error)
    except Exception as error:  # no Triton, no compiler for it, a driver that is too old
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if reason:
        raise CardMissing(reason)
    return card


def _open_card(recipe: Recipe, options: ExtractOptions, library: str) -> Card:
    import torch

    from featcache.pictures.card.decoding import CardDecoder
    from featcache.pictures.card.nvjpeg import Nvjpeg
    from featcache.pictures.card.resizing import CardResizer

    device = torch.device(resolve_device(options.device))
    resizers: dict[int, Resizer] = {}
    for number, spec in Card.products_of(recipe).items():
        preprocessor = spec.preprocessor
        if isinstance(preprocessor, Preprocessor) and CardResizer.takes(preprocessor):
            resizers[number] = CardResizer(preprocessor, device)
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        return Card(recipe, CardDecoder(Nvjpeg(library), device), resizers, stream=stream)


def _try_out(card: Card) -> str:
    """Decode and resize a drawn picture; return what is wrong."""
    if not card.resizers:
        return "no encoder resizes as Pillow does"
    levels = np.random.default_rng(0).integers(0, 256, (*_DRAWN, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=90)
    header = read_jpeg_header(file.getvalue())
    assert header is not None
    (picture,) = card.decoder.decode([file.getvalue()], [header])
    if picture is None:
        return "its engine takes no plain JPEG"
    with Image.open(file) as opened:
        expected = np.asarray(opened.convert("RGB"))
    if not np.array_equal(picture.cpu().numpy(), expected):
        return "its pixels are not Pillow's"
    for number, resizer in card.resizers.items():
        spec = Card.products_of(card.recipe)[number]
        if not np.array_equal(resizer.resize([picture])[0].cpu().numpy(), spec.prepare(Image.fromarray(expected))):
            return "its resized pixels are not Pillow's"
    return ""
