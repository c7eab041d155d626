"""Does a GPU make Pillow's pixels? JPEGs of all layouts, and real ones, are decoded and resized both ways."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from benchmarks.record import Measure
from featcache.extraction.options import available_cores
from featcache.extraction.preparing.card_loading import is_for_card
from featcache.pictures.card.decoding import CardDecoder
from featcache.pictures.card.resizing import CardResizer
from featcache.pictures.jpeg_kind import read_jpeg_header
from featcache.pictures.preprocess import Preprocessor

__all__ = ["Found", "compare_all", "compare_drawn", "compare_real", "drawn_jpegs", "real_jpegs"]

_BATCH = 64
_SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "grey")
_SIMPLEJPEGS = ("4:4:0", "4:1:1")
"""Pillow does not write these."""
_RESTARTS: tuple[dict[str, int], ...] = (
    {},
    {"restart_marker_blocks": 3},
    {"restart_marker_rows": 1},
    {"optimize": True},
)
_QUALITIES = (1, 10, 30, 50, 75, 85, 90, 95, 98, 100)
_MOST_BYTES = 20 << 20
_WAYS = {
    "bicubic": Preprocessor(224, (224, 224)),
    "bilinear, exact": Preprocessor((224, 224), None, filter=Resampling.BILINEAR),
    "lanczos, larger": Preprocessor(336, (336, 336), filter=Resampling.LANCZOS),
}


@dataclass
class Found:
    """Pictures by kind: ``same``, ``decoded otherwise``, ``resized otherwise: …`` (how), ``refused``, ``not taken``."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: int = 0

    def n(self, what: str) -> int:
        """Count the pictures of which this was found."""
        return sum(n for (_, found), n in self.counts.items() if found.split(":")[0] == what)

    @property
    def note(self) -> str:
        """All counts, and the greatest difference."""
        parts = [f"{kind}: {what} {n:,}" for (kind, what), n in sorted(self.counts.items())]
        return f"greatest difference of levels {self.worst}; " + ", ".join(parts)


def compare_drawn(n: int, decoder: CardDecoder, device: torch.device) -> list[Measure]:
    """Compare what a device makes of drawn pictures with what Pillow does."""
    return _measures(f"of {n:,} JPEGs in all layouts", compare_all(drawn_jpegs(n, most=512), decoder, device), n // 2)


def compare_real(decoder: CardDecoder, device: torch.device) -> list[Measure]:
    """Compare what a device makes of real pictures with what Pillow does."""
    files = list(real_jpegs())
    if not files:
        return [Measure("real JPEGs: FEATCACHE_TEST_MATERIAL names no folder with some", "", (0,))]
    found = compare_all(iter(files), decoder, device)
    return _measures(f"of {len(files):,} real JPEGs", found, at_least=min(500, len(files) // 2))


def _measures(what: str, found: Found, at_least: int) -> list[Measure]:
    n_others = found.n("decoded otherwise") + found.n("resized otherwise")
    return [
        Measure(f"{what}: other pixels than Pillow's", "", (n_others,), at_most=0, note=found.note),
        Measure(f"{what}: taken, and the same", "", (found.n("same"),), at_least=at_least),
    ]


def drawn_jpegs(n: int, *, most: int) -> Iterator[bytes]:
    """Yield pictures of 1 to ``most`` pixels a side, saved in all layouts, qualities, and ways of restarting.

    Some layouts need simplejpeg, and are left out without it.
    """
    rng = np.random.default_rng(0)
    samplings = _SAMPLINGS + (_SIMPLEJPEGS if find_spec("simplejpeg") else ())
    ways = list(product(_RESTARTS, _QUALITIES, samplings))
    for number in range(n):
        restarts, quality, sampling = ways[number % len(ways)]
        width, height = (int(2 ** rng.uniform(0, np.log2(most))) for _ in range(2))
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((width, height), Resampling.BICUBIC)).astype(np.int16)
        levels = smooth + rng.integers(-24, 25, smooth.shape, dtype=np.int16)
        image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
        if sampling in _SIMPLEJPEGS:
            from simplejpeg import encode_jpeg

            yield encode_jpeg(np.ascontiguousarray(image), quality, "RGB", sampling.replace(":", ""))
            continue
        file = io.BytesIO()
        options = restarts if sampling == "grey" else restarts | {"subsampling": sampling}
        (image.convert("L") if sampling == "grey" else image).save(file, "JPEG", quality=quality, **options)
        yield file.getvalue()


def real_jpegs() -> Iterator[bytes]:
    """Yield JPEGs of at most 20 MiB under the folder that FEATCACHE_TEST_MATERIAL names."""
    folder = os.environ.get("FEATCACHE_TEST_MATERIAL")
    for path in sorted(Path(folder).rglob("*")) if folder else ():
        if path.suffix.lower() in (".jpg", ".jpeg", ".jfif") and path.is_file() and path.stat().st_size <= _MOST_BYTES:
            yield path.read_bytes()


def compare_all(files: Iterator[bytes], decoder: CardDecoder, device: torch.device) -> Found:
    """Decode and resize pictures on a device and by Pillow.

    Parameters
    ----------
    files : iterator of bytes
        JPEGs; what the decoder is not trusted with is counted, and left aside.
    decoder : CardDecoder
        Of the device.
    device : torch.device
        A GPU.
    """
    found = Found()
    resizers = {name: CardResizer(way, device) for name, way in _WAYS.items()}
    with ThreadPoolExecutor(available_cores()) as pool:
        while batch := list(islice(files, _BATCH)):
            taken = [data for data in batch if _is_taken(data, decoder, found)]
            decoded = decoder.decode(taken, [header for data in taken if (header := read_jpeg_header(data))])
            exact = list(pool.map(_by_pillow, taken))
            same = [
                (data, on_device, by_pillow)
                for data, on_device, by_pillow in zip(taken, decoded, exact, strict=True)
                if on_device is not None
                and by_pillow is not None
                and _is_decoded_alike(data, on_device, by_pillow, found)
            ]
            for data, on_device, by_pillow in zip(taken, decoded, exact, strict=True):
                if on_device is None or by_pillow is None:
                    found.counts[_kind(data), "refused"] += 1
            differs: list[list[str]] = [[] for _ in same]
            for name, resizer in resizers.items():
                resized = resizer.resize([on_device for _, on_device, _ in same]).cpu().numpy() if same else ()
                expected = pool.map(_WAYS[name].pixels, [Image.fromarray(each) for _, _, each in same])
                for own, one, other in zip(differs, resized, expected, strict=True):
                    own += [] if np.array_equal(one, other) else [name]
            for (data, _, _), own in zip(same, differs, strict=True):
                found.counts[_kind(data), f"resized otherwise: {' and '.join(own)}" if own else "same"] += 1
    return found


def _kind(data: bytes) -> str:
    header = read_jpeg_header(data)
    return "no JPEG" if header is None else str(header.kind)


def _is_taken(data: bytes, decoder: CardDecoder, found: Found) -> bool:
    header = read_jpeg_header(data)
    if header is not None and decoder.takes(header.kind) and is_for_card(header):
        return True
    found.counts[_kind(data), "not taken"] += 1
    return False


def _by_pillow(data: bytes) -> NDArray[np.uint8] | None:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, Image.DecompressionBombError):
        return None


def _is_decoded_alike(data: bytes, on_device: torch.Tensor, exact: NDArray[np.uint8], found: Found) -> bool:
    levels = on_device.cpu().numpy()
    if np.array_equal(levels, exact):
        return True
    found.counts[_kind(data), "decoded otherwise"] += 1
    if levels.shape == exact.shape:
        found.worst = max(found.worst, int(np.abs(levels.astype(np.int16) - exact).max()))
    return False
