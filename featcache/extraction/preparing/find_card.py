"""Is there a GPU that decodes JPEGs, and makes Pillow's pixels of a picture? Found out by trying."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from featcache.encoders.loading import is_cuda, resolve_device
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing.card import Card, Resizer
from featcache.extraction.preparing.recipe import Recipe
from featcache.pictures.preprocess import Preprocessor

__all__ = ["CardMissing", "find_card"]

_DRAWN = (192, 256)


class CardMissing(Exception):
    """Pictures cannot be prepared on the card."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"--decoder card: {reason}; {advice}")


def find_card(recipe: Recipe, options: ExtractOptions) -> Card:
    """Open the card for what it can make of pictures.

    Raises
    ------
    CardMissing
        If there is none, something that it needs is not installed, or it does not do what it should.
    """
    if not is_cuda(options.device):
        raise CardMissing("the device is no GPU", "run with --device cuda")
    products = Card.products_of(recipe)
    if not products:
        raise CardMissing("no encoder takes the picture itself at its full size", "use --decoder auto")
    from featcache.pictures.card.decoding import CardDecoder, find_codec

    codec = find_codec()
    if codec is None:
        raise CardMissing("nvImageCodec is not installed, or cannot be loaded", "pip install 'featcache[gpu]'")
    try:
        import torch

        from featcache.pictures.card.resizing import CardResizer

        device = torch.device(resolve_device(options.device))
        resizers: dict[int, Resizer] = {}
        for number, spec in products.items():
            preprocessor = spec.preprocessor
            if isinstance(preprocessor, Preprocessor) and CardResizer.takes(preprocessor):
                resizers[number] = CardResizer(preprocessor, device)
        card = Card(recipe, CardDecoder(codec, device, n_threads=options.threads), resizers)
        reason = _try_out(card)
    except Exception as error:  # no Triton, no compiler for it, a driver that is too old
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if reason:
        raise CardMissing(reason, "use --decoder auto")
    return card


def _try_out(card: Card) -> str:
    """Decode and resize a drawn picture; return what is wrong."""
    if not card.resizers:
        return "no encoder resizes as Pillow does"
    levels = np.random.default_rng(0).integers(0, 256, (*_DRAWN, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=90)
    (picture,) = card.decoder.decode([file.getvalue()])
    if picture is None:
        return "this GPU has no engine for JPEGs"
    with Image.open(file) as opened:
        expected = np.asarray(opened.convert("RGB"))
    if not np.array_equal(picture.cpu().numpy(), expected):
        return "its pixels are not Pillow's"
    for number, resizer in card.resizers.items():
        spec = Card.products_of(card.recipe)[number]
        if not np.array_equal(resizer.resize([picture])[0], spec.prepare(Image.fromarray(expected))):
            return "its resized pixels are not Pillow's"
    return ""
