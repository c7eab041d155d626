"""The example's encoders: ordinary model folders with reproducible random weights."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertModel, CLIPVisionModel

from demo.dataset import SIZE, make_picture
from demo.encoders import write_text_encoder, write_vision_encoder
from demo.scenes import compose_scenes

WRITERS = {"text": write_text_encoder, "vision": write_vision_encoder}
CLASSES = {"text": BertModel, "vision": CLIPVisionModel}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {modality: write(root / modality, seed=0) for modality, write in WRITERS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("modality", WRITERS)
def test_every_weight_is_found_under_its_name(folders: dict[str, Path], modality: str) -> None:
    for loader in (AutoModel, CLASSES[modality]):
        model, report = loader.from_pretrained(folders[modality], output_loading_info=True)
        assert isinstance(model, CLASSES[modality])
        assert not any(report.values()), report


@pytest.mark.parametrize("modality", WRITERS)
def test_same_seed_gives_the_same_weights(folders: dict[str, Path], modality: str, tmp_path: Path) -> None:
    weights = (folders[modality] / "model.safetensors").read_bytes()
    torch.rand(3)  # what was drawn before must not matter
    same, other = (WRITERS[modality](tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert (same / "model.safetensors").read_bytes() == weights
    assert (other / "model.safetensors").read_bytes() != weights


@pytest.mark.parametrize("modality", WRITERS)
def test_global_random_state_stays_as_it_was(modality: str, tmp_path: Path) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    WRITERS[modality](tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002


def test_captions_are_words_and_any_text_has_tokens(folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["text"])
    (scene,) = compose_scenes(1, seed=0)
    assert tokenizer.tokenize(scene.caption) == scene.caption.split()
    for text in ("Caption: A zebra, 3 quays & co.!", string.printable):
        pieces = tokenizer.tokenize(text)
        assert pieces
        assert tokenizer.unk_token not in pieces
    lines = (folders["text"] / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert {token: index for index, token in enumerate(lines)} == tokenizer.get_vocab()


def test_filters_have_no_mean(folders: dict[str, Path]) -> None:
    model = CLIPVisionModel.from_pretrained(folders["vision"])
    filters = model.embeddings.patch_embedding.weight.detach()
    assert float(filters.sum(dim=(2, 3)).abs().max()) < 1e-4 * float(filters.abs().sum(dim=(2, 3)).max())


def test_pooled_output_tells_a_photograph_from_a_generated_picture(folders: dict[str, Path]) -> None:
    """Distances within a source are smaller than between a photograph and a checkerboard, on the average."""
    model = CLIPVisionModel.from_pretrained(folders["vision"])
    scenes = compose_scenes(6, seed=1)
    pooled = {}
    for label, source in enumerate(("real", "deconv_up")):
        pictures = [
            make_picture(scene, source, rng=np.random.default_rng([label, i])) for i, scene in enumerate(scenes)
        ]
        pixels = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())
        with torch.inference_mode():
            pooled[source] = model(pixel_values=(pixels - 0.45) / 0.27).pooler_output
    assert all(bool(torch.isfinite(values).all()) for values in pooled.values())
    between = torch.dist(pooled["real"].mean(0), pooled["deconv_up"].mean(0))
    spread = torch.stack([values.std(dim=0).norm() for values in pooled.values()]).mean() / len(scenes) ** 0.5
    assert float(between) > 1.5 * float(spread)


def test_preprocessing_keeps_every_pixel(folders: dict[str, Path]) -> None:
    """A resize would wash out the fingerprints."""
    settings = json.loads((folders["vision"] / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert settings["size"] == {"shortest_edge": SIZE}
    assert settings["crop_size"] == {"height": SIZE, "width": SIZE}
    assert settings["image_processor_type"] == "CLIPImageProcessor"
