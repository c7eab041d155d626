"""Identities of producers never change: those of tiny fixed models, as they were when each kind was first taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featcache.encoders.captions import CaptionSpec
from featcache.encoders.clip_text import ClipTextSpec
from featcache.encoders.model_folder import ModelFolder, resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.pictures.resample import COLUMNS_FIRST

TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
CLIP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}
EXACT = {"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
VIT = EXACT | {"image_processor_type": "ViTImageProcessor"}
BIT = CLIP | {"image_processor_type": "BitImageProcessor"}
SIGLIP = EXACT | {"image_processor_type": "SiglipImageProcessor"}
IMAGE_MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": ({"vision_config": TOWER, "projection_dim": 8}, CLIP),
    "clip_vision_model": (TOWER, CLIP),
    "vit": (TOWER, VIT),
    "dinov2": (TOWER, BIT),
    "dinov2_with_registers": (TOWER | {"num_register_tokens": 3}, BIT),
    "siglip": ({"vision_config": TOWER}, SIGLIP),
    "siglip_vision_model": (TOWER, SIGLIP),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "torch": {"resize": "torch"},
    "square": {"square_crop": True},
    "fast": {"decode": "fast"},
    "half": {"compute_dtype": "bfloat16", "storage_dtype": "float32"},
}
IMAGES: dict[str, str] = {
    "clip plain": "e86b93d69405",
    "clip torch": "b69e0fd1573f",
    "clip square": "0bd1e0f0d03c",
    "clip fast": "f0bdce0cc2c1",
    "clip half": "3ea651572485",
    "clip_vision_model plain": "6872ea292651",
    "clip_vision_model torch": "7d855622e739",
    "clip_vision_model square": "588ffd342260",
    "clip_vision_model fast": "9d736d47bd16",
    "clip_vision_model half": "a8ca5255a7b0",
    "vit plain": "20a6a02ef333",
    "vit torch": "1eabd400b5ef",
    "vit square": "b544f9735220",
    "vit fast": "45f9de2e9822",
    "vit half": "ed93df3b4fe8",
    "dinov2 plain": "17c0b4434387",
    "dinov2 torch": "c3f4812205f9",
    "dinov2 square": "41e91bdb1785",
    "dinov2 fast": "47520c5442dd",
    "dinov2 half": "a922b2e1b38a",
    "dinov2_with_registers plain": "5b807e662a77",
    "dinov2_with_registers torch": "1df2570d11ac",
    "dinov2_with_registers square": "2c4ecc66cd0d",
    "dinov2_with_registers fast": "2a4d74c0e99e",
    "dinov2_with_registers half": "372f0d7b7c65",
    "siglip plain": "fea563d01e6d",
    "siglip torch": "60fe88784dde",
    "siglip square": "42242e6d4ca6",
    "siglip fast": "b8ab0c50a615",
    "siglip half": "c734079b79ab",
    "siglip_vision_model plain": "f5df727c7687",
    "siglip_vision_model torch": "27b81747b9bf",
    "siglip_vision_model square": "e9330ed3d77b",
    "siglip_vision_model fast": "68b0a87d2f90",
    "siglip_vision_model half": "76d1cbf53430",
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 20, "max_position_embeddings": 40, "pad_token_id": 1}
TEXT_MODELS: dict[str, dict[str, Any]] = {
    "bert": TEXT,
    "roberta": TEXT,
    "clip-text": {"model_type": "clip", "text_config": TEXT, "projection_dim": 8},
    "clip_text_model": TEXT,
}
TEXTS: dict[str, str] = {
    "bert {caption}": "a8809ef4438a",
    "bert a photo of {caption}": "53a1731fd0b7",
    "roberta {caption}": "e58eb93101a3",
    "roberta a photo of {caption}": "fa278b600635",
    "clip-text {caption}": "638560030dca",
    "clip-text a photo of {caption}": "a5271e5dc2d3",
    "clip_text_model {caption}": "89b593126a7b",
    "clip_text_model a photo of {caption}": "afe2a92b7e3b",
}


def write(folder: Path, config: dict[str, Any], files: dict[str, Any]) -> ModelFolder:
    folder.mkdir()
    for name, content in ({"config.json": config} | files).items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"weights that nobody reads")
    return resolve_model(str(folder))


@pytest.fixture(autouse=True)
def one_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's versions differ in the order of their passes, which is part of an identity."""
    monkeypatch.setattr("featcache.pictures.preprocess.pass_order", lambda: COLUMNS_FIRST)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", IMAGE_MODELS)
def test_identities_of_encoders_of_pictures_are_what_they_were(tmp_path: Path, kind: str, option: str) -> None:
    config, processor = IMAGE_MODELS[kind]
    folder = write(tmp_path / "m", {"model_type": kind} | config, {"preprocessor_config.json": processor})
    output = "pooled" if kind.startswith("siglip") else "cls"
    assert ImageSpec(folder, (output,), **OPTIONS[option]).fingerprint.short == IMAGES[f"{kind} {option}"]


@pytest.mark.parametrize("template", ["{caption}", "a photo of {caption}"])
@pytest.mark.parametrize("kind", TEXT_MODELS)
def test_identities_of_encoders_of_captions_are_what_they_were(tmp_path: Path, kind: str, template: str) -> None:
    files = {"tokenizer.json": {"version": "1.0"}, "tokenizer_config.json": {"model_max_length": 32}}
    folder = write(tmp_path / "m", {"model_type": kind} | TEXT_MODELS[kind], files)
    spec: CaptionSpec = (
        ClipTextSpec(folder, template=template) if kind.startswith("clip") else TextSpec(folder, template=template)
    )
    assert spec.fingerprint.short == TEXTS[f"{kind} {template}"]
