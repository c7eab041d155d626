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
from featcache.pictures.jpeg_kind import read_jpeg_header
from featcache.pictures.nvjpeg_library import NvjpegError, find_nvjpeg, nvjpeg_advice

__all__ = ["CardMissing", "check_card", "find_card"]

_DRAWN = (192, 256)
_KEY = bytes(32)


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
        raise CardMissing(
            "nothing is asked for that a GPU makes: pictures at full size, for an encoder, under views but JPEG"
        )


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
        raise CardMissing("this GPU has no engine for JPEGs" if error.is_no_engine else str(error)) from error
    except Exception as error:  # no Triton, no compiler for it, a driver that is too old
        raise CardMissing(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from error
    if reason:
        raise CardMissing(reason)
    return card


def _open_card(recipe: Recipe, options: ExtractOptions, library: str) -> Card:
    import torch

    from featcache.pictures.card.decoding import CardDecoder
    from featcache.pictures.card.nvjpeg import Nvjpeg
    from featcache.pictures.card.resizing import CardResizer
    from featcache.pictures.card.views import CardViews

    device = torch.device(resolve_device(options.device))
    resizers: dict[int, Resizer] = {}
    for number, preprocessor in Card.products_of(recipe).items():
        view, _ = recipe.products[number]
        if CardViews.takes(view) and CardResizer.takes(preprocessor):
            resizers[number] = CardResizer(preprocessor, device)
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        decoder, perturber = CardDecoder(Nvjpeg(library), device), CardViews(device)
        return Card(recipe, decoder, resizers, perturber=perturber, stream=stream)


def _try_out(card: Card) -> str:
    """Have the card make all that it is for of a drawn picture; return what is wrong."""
    if not card.resizers:
        return "no encoder resizes as Pillow does"
    levels = np.random.default_rng(0).integers(0, 256, (*_DRAWN, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=90)
    data = file.getvalue()
    header = read_jpeg_header(data)
    assert header is not None
    (picture,) = card.decoder.decode([data], [header])
    if picture is None:
        return "its engine takes no plain JPEG"
    with Image.open(file) as opened:
        expected = opened.convert("RGB")
    if not np.array_equal(picture.cpu().numpy(), np.asarray(expected)):
        return "its pixels are not Pillow's"
    for number, resizer in card.resizers.items():
        view, spec = card.recipe.products[number]
        (seen,) = card.under(view, [picture], [_KEY])
        own = None if seen is None else resizer.resize([seen])[0].cpu().numpy()
        if own is None or not np.array_equal(own, spec.prepare(view.apply(expected, _KEY))):
            return "its resized pixels are not Pillow's" + ("" if view.is_clean else f" under the view {view}")
    return ""
