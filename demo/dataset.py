"""The data set of the example: one photograph and five generated pictures of every caption.

The shape is that of the CT2 / Defactify-4 data: a caption tells nothing about the label, because each occurs once
with every source. Size, format and quality of the files are the same for all, and names are shuffled.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from demo.camera import develop, take_photograph
from demo.drawing import render_scene
from demo.generators import GENERATORS
from demo.objects import Image
from demo.scenes import Scene, compose_scenes

__all__ = ["SIZE", "SOURCES", "Row", "make_picture", "write_dataset"]

SIZE = 128
SOURCES = ("real", *GENERATORS)

_QUALITY = 92


@dataclass(frozen=True)
class Row:
    """One line of the manifest; ``image`` is relative to it, the labels are the position in ``SOURCES``."""

    sample_id: str
    image: str
    caption: str
    label_a: int
    label_b: int
    generator: str
    split: str
    group: str


def write_dataset(folder: Path, *, captions: int = 120, seed: int = 0) -> Path:
    """Write pictures and manifest.

    Parameters
    ----------
    folder
        Receives ``manifest.csv`` and ``images/``.
    captions
        How many captions; there are six pictures of each, all in the same split.
    seed
        The same seed gives the same bytes.

    Returns
    -------
    Path
        The manifest.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    scenes = compose_scenes(captions, seed=seed)
    rows: list[Row] = []
    for index, (scene, split) in enumerate(zip(scenes, _assign_splits(captions, seed), strict=True)):
        order = np.random.default_rng([seed, 2, index]).permutation(len(SOURCES))
        for position, label in enumerate(order.tolist()):
            picture = make_picture(scene, SOURCES[label], rng=np.random.default_rng([seed, 3, index, label]))
            sample_id = f"{index:04d}-{position}"
            row = Row(
                sample_id=sample_id,
                image=f"images/{sample_id}.jpg",
                caption=scene.caption,
                label_a=int(label > 0),
                label_b=label,
                generator=SOURCES[label],
                split=split,
                group=f"caption-{index:04d}",
            )
            (folder / row.image).write_bytes(_encode_jpeg(picture))
            rows.append(row)
    return _write_manifest(folder / "manifest.csv", rows)


def make_picture(scene: Scene, source: str, *, rng: np.random.Generator) -> Image:
    """Make one picture of a scene, (SIZE, SIZE, 3) in [0, 1], by ``real`` or by a generator."""
    if source == "real":
        return take_photograph(render_scene(scene, 2 * SIZE, rng=rng), rng=rng)
    return GENERATORS[source](develop(render_scene(scene, SIZE, rng=rng), rng=rng), rng)


def _assign_splits(captions: int, seed: int) -> list[str]:
    """Deal captions to train, valid and test, 60 to 20 to 20."""
    n_train, n_valid = round(0.6 * captions), round(0.2 * captions)
    names = np.array(["train"] * n_train + ["valid"] * n_valid + ["test"] * (captions - n_train - n_valid))
    return [str(name) for name in np.random.default_rng([seed, 1]).permutation(names)]


def _encode_jpeg(picture: Image) -> bytes:
    buffer = io.BytesIO()
    pixels = np.rint(picture * 255).astype(np.uint8)
    PillowImage.fromarray(pixels).save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _write_manifest(path: Path, rows: list[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    return path
