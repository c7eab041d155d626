"""Small data sets, fake encoders and tiny real models: what tests are made of."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.cache.folder import Cache, Defaults
from featcache.cache.shard import ShardHeader
from featcache.cache.shard_writing import write_shard
from featcache.dataset.manifest import Manifest
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import Modality
from featcache.pictures.decode import decode_rgb

if TYPE_CHECKING:
    import pytest

GENERATORS = ("alpha", "beta")
SMALL_HEADER = ShardHeader("ab" * 32, "clean", "float16")


@dataclass(frozen=True)
class FakeSpec:
    """An encoder whose vectors are a function of the caption or pixels alone: exact, instant, without weights."""

    modality: Modality
    outputs: tuple[str, ...] = ("pooled",)
    width: int = 4
    weights: str = "w0"
    scale: float = 1.0
    storage_dtype: str = "float16"
    tells_widths: bool = True
    log: list[int] = field(default_factory=list, compare=False)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        identity = {
            "format": 1,
            "modality": self.modality,
            "model": {"type": "fake", "weights": self.weights},
            "compute_dtype": "float32",
            "storage_dtype": self.storage_dtype,
        }
        return Fingerprint(identity, {"model": f"fake-{self.weights}", "revision": None, "path": None})

    @property
    def widths(self) -> Mapping[str, int]:
        return dict.fromkeys(self.outputs, self.width) if self.tells_widths else {}

    def prepare(self, source: Any) -> Any:
        return source if self.modality == "text" else fake_pixels(source)

    def load(self, device: str, *, compile: bool = False) -> FakeEncoder:
        return FakeEncoder(self)


@dataclass(frozen=True)
class FakeEncoder:
    spec: FakeSpec

    def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[np.float32]]:
        self.spec.log.append(len(batch))
        return {
            name: np.stack([fake_vector(content, name, self.spec.width, self.spec.scale) for content in batch])
            for name in self.spec.outputs
        }

    def start(self, batch: Sequence[Any]) -> Callable[[], Mapping[str, NDArray[np.float32]]]:
        vectors = self.encode(batch)
        return lambda: vectors


def fake_pixels(picture: Image.Image | bytes) -> NDArray[np.uint8]:
    """What `FakeSpec` prepares of a picture, or of the bytes of its file: 32 numbers that depend on every pixel."""
    rgb = decode_rgb(picture) if isinstance(picture, bytes) else picture
    return np.frombuffer(hashlib.sha256(repr(rgb.size).encode() + rgb.tobytes()).digest(), np.uint8)


def fake_vector(content: Any, output: str, width: int = 4, scale: float = 1.0) -> NDArray[np.float32]:
    """The vector that `FakeEncoder` makes of a caption, or of what `fake_pixels` returned."""
    data = content.encode() if isinstance(content, str) else bytes(content)
    seed = int.from_bytes(hashlib.sha256(output.encode() + data).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(width).astype(np.float32) * scale
    return vector.astype(np.float32)


def png(seed: int, size: tuple[int, int] = (8, 6)) -> bytes:
    """A little picture whose pixels depend on the seed."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_dataset(folder: Path, n_captions: int = 6, **columns: Sequence[Any]) -> Path:
    """Write a CT2-shaped data set (each caption once real and once from each generator); returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = ("train", "train", "train", "valid", "test", "train")
    rows = []
    for i in range(n_captions):
        for b, name in enumerate(("real", *GENERATORS)):
            file = f"{i}-{name}.png"
            (folder / file).write_bytes(png(10 * i + b))
            rows.append(
                {
                    "sample_id": f"{i}-{name}",
                    "image": file,
                    "caption": f"caption number {i}",
                    "label_a": int(b > 0),
                    "label_b": name,
                    "split": splits[i % len(splits)],
                    "group": f"g{i}",
                }
            )
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def make_cache(path: Path, storage_dtype: str = "float16") -> Cache:
    return Cache.open_or_create(path, Defaults("float32", storage_dtype))


def small_rows(n: int, d: int = 5, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return random keys (n, 32) and vectors (n, d)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32), dtype=np.uint8), rng.standard_normal((n, d)).astype(np.float32)


def write_small_shard(path: Path, n: int = 7) -> Path:
    """Write a shard of `SMALL_HEADER` with outputs of 5 and 2 columns."""
    keys, vectors = small_rows(n)
    assert write_shard(path, SMALL_HEADER, keys, {"cls": vectors, "layers:4": vectors[:, :2]}, root=path.parent)
    return path


def read_manifest(path: Path) -> Manifest:
    return Manifest.from_source(path)


def write_bert(folder: Path, seed: int = 0) -> Path:
    """Save a tiny random BERT with its tokenizer as an ordinary model folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "caption", "number", "a", "red", "ball", *map(str, range(10))]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=32,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


CLIP_PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}


def write_vision(folder: Path, kind: str = "clip", seed: int = 0) -> Path:
    """Save a tiny random vision tower (``clip``, ``clip-full``, ``vit``, ``dinov2``, ``siglip``) as a model folder."""
    import json

    import torch
    import transformers as t

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    wide = small | {"intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "clip":
            model = t.CLIPVisionModel(t.CLIPVisionConfig(**wide))
        elif kind == "clip-full":
            text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
            text |= {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
            model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=wide, projection_dim=8))
        elif kind == "vit":
            model = t.ViTModel(t.ViTConfig(**wide))
        elif kind == "vit-bare":
            model = t.ViTModel(t.ViTConfig(**wide), add_pooling_layer=False)
        elif kind == "dinov2":
            model = t.Dinov2Model(t.Dinov2Config(**small))
        else:
            model = t.SiglipVisionModel(t.SiglipVisionConfig(**wide))
        model.save_pretrained(folder)
    processor: dict[str, Any] = dict(CLIP_PROCESSOR)
    if kind.startswith("vit"):
        processor = processor | {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    elif kind == "siglip":
        processor = processor | {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    elif kind == "dinov2":
        processor = processor | {"image_processor_type": "BitImageProcessor"}
    if not kind.startswith(("clip", "dinov2")):
        del processor["crop_size"]
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def cut_strips(monkeypatch: pytest.MonkeyPatch, n_pixels: int) -> None:
    """Have all pictures cut into strips of about so many pixels, whatever their size."""
    monkeypatch.setattr("featcache.pictures.strips.WHOLE_PIXELS", 0)
    monkeypatch.setattr("featcache.pictures.strips._STRIP_PIXELS", n_pixels)


def run_python(code: str, *arguments: object) -> str:
    """Run code in a process of its own, which knows these factories; returns what it printed."""
    tests = Path(__file__).resolve().parent
    environment = os.environ | {"PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def peak_bytes() -> int:
    """Most memory that this process ever had. What `resource` tells of it on Linux counts the parent's too."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def children() -> set[int]:
    """Processes that this one has started and not waited for."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return {int(pid) for pid in listed.stdout.split() if _command(int(pid)) != "ps"}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ps"
