"""What decoding, views and resizing cost a picture, in processor time of one thread.

``OMP_NUM_THREADS=1 python -m benchmarks.bench_pixels [--pictures DIR] [--n N] [--rounds N]``; without DIR the pictures
are noise with the spectrum of photographs, 436 to 640 pixels, JPEG of quality 90.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, __version__

from benchmarks.extraction_data import write_data
from benchmarks.record import Measure, print_record, ratios, time_rounds, write_record
from featcache.extraction.heap import keep_heap
from featcache.extraction.preparing.card_loading import PixelSpace
from featcache.pictures.checked_decoder import CheckedDecoder
from featcache.pictures.decode import decode_rgb
from featcache.pictures.decode_rules import DECODE_RULES
from featcache.pictures.decoders import find_decoder
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.views import View, expand_views

EDGE = 224
VIEWS = "clean,train,report,jpeg:50+blur:1"
ONE_VIEW, TWO_VIEWS = (tuple(expand_views(each)) for each in ("clean", "clean,crop:0.8+hflip"))


def decode_all(contents: list[bytes], at_least: tuple[int, int] | None) -> None:
    """Decode every file."""
    for content in contents:
        decode_rgb(content, at_least=at_least)


def decode_checked(contents: list[bytes], checked: CheckedDecoder, p: Preprocessor | None = None) -> None:
    """Decode every file as an extraction does: one of 64 both ways. Resize them as well, if it is said how."""
    for number, content in enumerate(contents):
        picture = checked.decode(content, is_sample=number % 64 == 63).upright()
        if p is not None:
            p.pixels(picture)


def decode_and_resize(contents: list[bytes], p: Preprocessor) -> None:
    """Do the same by Pillow."""
    for content in contents:
        p.pixels(decode_rgb(content))


def decode_for_card(contents: list[bytes]) -> None:
    """Decode every file and put its pixels where a GPU finds them, which does the rest."""
    memory = np.empty(0, np.uint8)
    for content in contents:
        picture = decode_rgb(content)
        if memory.size < (size := 3 * picture.width * picture.height):
            memory = np.empty(2 * size, np.uint8)
        PixelSpace(memory, DECODE_RULES).put(picture)


def decode_and_prepare(contents: list[bytes], keys: list[bytes], views: tuple[View, ...], p: Preprocessor) -> None:
    """Decode every file and resize it under views, as a CPU does alone."""
    for content, key in zip(contents, keys, strict=True):
        picture = decode_rgb(content)
        for view in views:
            p.pixels(view.apply(picture, key))


def compare(contents: list[bytes]) -> CheckedDecoder | None:
    """Return the decoder beside Pillow, made familiar with the pictures, all of which have to be the same."""
    decoder = find_decoder("auto")
    if decoder is None:
        return None
    checked = CheckedDecoder(decoder)
    ways = [checked.decode(content, is_sample=True).way for content in contents]
    assert not any(way.doubt for way in ways), "a picture differs from Pillow's"
    n = sum(way.kind is not None for way in ways)
    print(f"{decoder.name} {decoder.version}: {n} of {len(contents)} pictures, all equal to Pillow's in every bit")
    return checked


def resize_all(pictures: list[Image.Image], p: Preprocessor) -> None:
    """Bring every picture to the encoder's size."""
    for picture in pictures:
        p.pixels(picture)


def apply_all(pictures: list[Image.Image], keys: list[bytes], view: View) -> None:
    """Perturb every picture."""
    for picture, key in zip(pictures, keys, strict=True):
        view.apply(picture, key)


def measure(contents: list[bytes], rounds: int) -> list[Measure]:
    """Time the steps in turn, and compare the fast ones with the exact."""
    pictures = [decode_rgb(content) for content in contents]
    keys = [hashlib.sha256(content).digest() for content in contents]
    by_pillow, by_torch = (Preprocessor(EDGE, (EDGE, EDGE), backend=backend) for backend in ("pillow", "torch"))
    calls: dict[str, Callable[[], object]] = {
        "decode exactly": partial(decode_all, contents, None),
        "decode fast, 224 pixels wanted": partial(decode_all, contents, by_pillow.at_least),
        "decode fast, 112 pixels wanted": partial(decode_all, contents, (EDGE, EDGE)),
        "resize with pillow": partial(resize_all, pictures, by_pillow),
        "resize with torch": partial(resize_all, pictures, by_torch),
    }
    calls |= {
        "decode for a GPU": partial(decode_for_card, contents),
        "decode and resize": partial(decode_and_prepare, contents, keys, ONE_VIEW, by_pillow),
        "decode and resize under two views": partial(decode_and_prepare, contents, keys, TWO_VIEWS, by_pillow),
    }
    checked = compare(contents)
    if checked is not None:
        calls["decode exactly, with simplejpeg"] = partial(decode_checked, contents, checked)
        calls["decode and resize with pillow"] = partial(decode_and_resize, contents, by_pillow)
        calls["decode and resize, with simplejpeg"] = partial(decode_checked, contents, checked, by_pillow)
    calls |= {f"view {view}": partial(apply_all, pictures, keys, view) for view in expand_views(VIEWS)}
    seconds = time_rounds(calls, rounds=rounds, clock=time.process_time)
    fastest = ratios(seconds["decode exactly"], seconds["decode fast, 112 pixels wanted"])
    faster = [] if checked is None else _faster(seconds)
    return [
        *faster,
        *_relieved(seconds),
        Measure("resize: pillow / torch", "ratio", ratios(seconds["resize with pillow"], seconds["resize with torch"])),
        Measure("decode: exact / fast, 112 pixels wanted", "ratio", fastest),
        *(Measure(name, "ms", tuple(1e3 * s / len(contents) for s in values)) for name, values in seconds.items()),
    ]


def _relieved(seconds: dict[str, list[float]]) -> list[Measure]:
    """Divide what a CPU takes for the inputs of an encoder by what is left of that where a GPU resizes."""
    left = seconds["decode for a GPU"]
    return [
        Measure(f"{name} / decode for a GPU", "ratio", ratios(seconds[name], left))
        for name in ("decode and resize", "decode and resize under two views")
    ]


def _faster(seconds: dict[str, list[float]]) -> list[Measure]:
    """Divide what Pillow takes by what the other decoder takes for the same pixels, its checks included."""
    alone = ratios(seconds["decode exactly"], seconds["decode exactly, with simplejpeg"])
    both = ratios(seconds["decode and resize with pillow"], seconds["decode and resize, with simplejpeg"])
    return [
        Measure("decode: pillow / simplejpeg, same pixels", "ratio", alone),
        Measure("decode and resize: pillow / simplejpeg, same pixels", "ratio", both, at_least=1.3),
    ]


def main() -> None:
    """Measure, write the record, and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="a folder of JPEGs; default: synthetic ones")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    keep_heap()  # as commands do
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-pixels-") as made:
        folder = given.pictures or Path(made)
        if given.pictures is None:
            write_data(folder, -(-given.n // 6))
        paths = sorted(folder.rglob("*.jpg"))
        contents = [path.read_bytes() for path in paths[:: max(1, len(paths) // given.n)][: given.n]]
    sides = sorted(decode_rgb(content).width for content in contents)
    kilobytes = sum(map(len, contents)) / len(contents) / 1e3
    setting = (
        f"Processor time a picture on one thread, {len(contents)} JPEGs of {kilobytes:.0f} kB, "
        f"{sides[0]} to {sides[-1]} pixels wide, Pillow {__version__}. Resizing is by the shorter side to {EDGE}, "
        "bicubic, and a centre crop; views act on the whole picture."
    )
    options = "" if given.pictures is None else f"--pictures {given.pictures.name}"
    print_record(write_record("pixels", measure(contents, given.rounds), setting=setting, options=options))


if __name__ == "__main__":
    main()
