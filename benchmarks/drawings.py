"""Pictures that are nobody's photographs: six families, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["FAMILIES", "draw_families"]

SIDE, QUALITY = 256, 90
Rng = np.random.Generator
WORDS = ("the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "with", "as", "be", "from", "had", "by")


def draw_families(folder: Path, n: int) -> dict[str, list[Path]]:
    """Write ``n`` JPEG pictures of each family and return their paths."""
    found: dict[str, list[Path]] = {}
    for number, (name, draw) in enumerate(FAMILIES.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        found[name] = [folder / name / f"{i:03d}.jpg" for i in range(n)]
        for i, path in enumerate(found[name]):
            draw(np.random.default_rng([number, i])).save(path, quality=QUALITY)
    return found


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _uniform(rng: Rng) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), _colour(rng))


def _gradient(rng: Rng) -> Image.Image:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) - 0.5
    place = np.clip((x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2) + 0.5, 0, 1)[..., None]
    first, last = (np.array(_colour(rng)) for _ in range(2))
    return Image.fromarray((first * (1 - place) + last * place).astype(np.uint8))


def _noise(rng: Rng) -> Image.Image:
    channels = 3 if rng.random() < 0.5 else 1
    noise = np.broadcast_to(rng.integers(0, 256, (SIDE, SIDE, channels)), (SIDE, SIDE, 3)).astype(np.uint8)
    blurred = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1))))
    return blurred if rng.random() < 0.5 else Image.fromarray(noise)


def _lines(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(5, 25)):
        points = [(int(x), int(y)) for x, y in rng.integers(0, SIDE, (rng.integers(2, 6), 2))]
        pen.line(points, fill=(0, 0, 0), width=int(rng.integers(1, 4)))
        if rng.random() < 0.4:
            x, y, width, height = rng.integers(10, 180, 4).tolist()
            pen.ellipse((x, y, x + width, y + height), outline=(0, 0, 0), width=int(rng.integers(1, 4)))
    return image


def _text(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    height, margin = int(rng.integers(11, 18)), int(rng.integers(8, 30))
    for top in range(margin, SIDE - margin - height, height):
        if rng.random() < 0.1:
            continue
        line = " ".join(WORDS[k] for k in rng.integers(0, len(WORDS), 20))
        pen.text((margin, top), line[: (SIDE - 2 * margin) // 6], fill=(20, 20, 20))
    return image


def _screen(rng: Rng) -> Image.Image:
    """Draw a window as of a program: a bar with a title, a list at the side, boxes with text, buttons."""
    is_dark = rng.random() < 0.4
    back, front = ((30, 32, 38), (220, 220, 220)) if is_dark else ((245, 245, 247), (30, 30, 30))
    image = Image.new("RGB", (SIDE, SIDE), back)
    pen = ImageDraw.Draw(image)
    accent, bar, side = _colour(rng), int(rng.integers(14, 30)), int(rng.integers(40, 90))
    pen.rectangle((0, 0, SIDE, bar), fill=accent)
    pen.text((6, bar // 2 - 5), "File Edit View Help", fill=(255, 255, 255))
    pen.rectangle((0, bar, side, SIDE), fill=tuple(max(0, v - 12) for v in back))
    for top in range(bar + 6, SIDE - 12, int(rng.integers(13, 20))):
        pen.text((4, top), WORDS[rng.integers(len(WORDS))], fill=front)
    top = bar + 8
    while top < SIDE - 30:
        height = int(rng.integers(18, 60))
        pen.rectangle((side + 8, top, SIDE - 8, top + height), outline=accent if rng.random() < 0.3 else front)
        for line in range(top + 3, top + height - 11, 12):
            text = " ".join(WORDS[k] for k in rng.integers(0, len(WORDS), 8))
            pen.text((side + 12, line), text[: (SIDE - side - 30) // 6], fill=front)
        top += height + int(rng.integers(4, 14))
    pen.rectangle((SIDE - 70, SIDE - 22, SIDE - 10, SIDE - 6), fill=accent)
    pen.text((SIDE - 60, SIDE - 20), "Save", fill=(255, 255, 255))
    return image


FAMILIES: Mapping[str, Callable[[Rng], Image.Image]] = {
    "uniform colour": _uniform,
    "gradients": _gradient,
    "noise": _noise,
    "line drawings": _lines,
    "text pages": _text,
    "screenshots": _screen,
}
