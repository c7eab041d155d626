"""What the extraction benchmark works on: data shaped like CT2, and models of real size with random weights."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["GENERATORS", "write_data", "write_models", "write_tiny_data"]

GENERATORS = ("sd21", "sdxl", "sd3", "dalle3", "midjourney")
_SIZES = ((640, 480), (512, 512), (500, 500), (512, 512), (436, 436), (480, 640))
_WORDS = (
    "a the of on in with and two man woman dog cat street table people sitting standing holding riding next to near "
    "front red blue white black large small group young old train bus bench plate food kitchen room bed water beach "
    "snow tree grass field horse giraffe elephant baseball player tennis court umbrella phone laptop computer desk "
    "window building sign car truck bicycle motorcycle airplane boat sky clouds"
)
_VOCABULARY = 30_522


def write_data(folder: Path, n_scenes: int, *, n_drawn: int = 512, shrink: int = 1) -> Path:
    """Write six pictures of about 500 pixels (JPEG, quality 90) and one caption of about 13 tokens a scene.

    Pictures are noise with the falling spectrum of photographs, so that the files are about as large as theirs, and
    each class falls a little differently. Returns the manifest.

    Parameters
    ----------
    folder : Path
        Where to.
    n_scenes : int
        How many.
    n_drawn : int
        Scenes with pictures of their own; the files of further ones differ from theirs only in bytes after the end.
    shrink : int
        How many times smaller pictures are a side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    manifest = folder / "manifest.csv"
    copies: list[Future[int]] = []
    with manifest.open("w", newline="", encoding="utf-8") as file, ThreadPoolExecutor() as pool:
        rows = csv.writer(file)
        rows.writerow(("sample_id", "image", "caption", "label_a", "label_b", "split", "group"))
        for scene in range(n_scenes):
            caption = " ".join(rng.choice(_WORDS.split(), int(rng.integers(8, 15))))
            for number, (name, size) in enumerate(zip(("real", *GENERATORS), _SIZES, strict=True)):
                path = folder / f"{scene:05d}-{name}.jpg"
                drawn = folder / f"{scene % n_drawn:05d}-{name}.jpg"
                if drawn == path:
                    path.write_bytes(_jpeg(rng, (size[0] // shrink, size[1] // shrink), 1.0 + 0.1 * number))
                else:
                    copies.append(pool.submit(_copy, drawn, path, str(scene).encode()))
                split = ("train", "train", "valid", "test")[scene % 4]
                rows.writerow((path.stem, path.name, caption, int(number > 0), name, split, scene))
    for each in copies:
        each.result()
    return manifest


def _copy(source: Path, path: Path, end: bytes) -> int:
    return path.write_bytes(source.read_bytes() + end)


def _jpeg(rng: np.random.Generator, size: tuple[int, int], slope: float) -> bytes:
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    noise = np.fft.rfft2(rng.standard_normal((3, height, width))) / frequency**slope
    pixels = np.fft.irfft2(noise, s=(height, width))
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std()
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_tiny_data(folder: Path, n: int) -> Path:
    """Write pictures of 16 × 12 pixels, each with a caption of its own; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("sample_id", "image", "caption", "label_a", "split"))
        for i in range(n):
            path = folder / f"{i:07d}.bmp"
            Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)
            rows.writerow((path.stem, path.name, f"a {' '.join(rng.choice(_WORDS.split(), 8))} {i}", i % 2, "train"))
    return manifest


def write_models(folder: Path, *, small: bool = False) -> tuple[Path, Path]:
    """Save a BERT-base with a WordPiece tokenizer and a CLIP ViT-B/32 vision tower, both with random weights.

    Parameters
    ----------
    folder : Path
        Where to.
    small : bool
        Make them tiny instead, for pictures of 32 pixels.
    """
    import torch
    import transformers as t

    size: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # With the spread of trained weights: with the default captions would hardly differ in [CLS].
        text = t.BertModel(t.BertConfig(vocab_size=_VOCABULARY, initializer_range=0.04, **(size if small else {})))
        text.save_pretrained(folder / "text")
        image = t.CLIPVisionModel(t.CLIPVisionConfig(**(size | {"image_size": 32} if small else {})))
        image.save_pretrained(folder / "image")
    _write_tokenizer(folder / "text")
    side = 32 if small else 224
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "image" / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder / "text", folder / "image"


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(_WORDS.split())]
    words += [f"[unused{i}]" for i in range(_VOCABULARY - len(words))]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast: Callable[..., Any] = PreTrainedTokenizerFast  # untyped
    fast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    ).save_pretrained(folder)
