"""Two small model folders in the form of BERT and of CLIP's vision tower, with random weights.

Both encoders are UNTRAINED: their weights are drawn from a seed, nobody fitted them to anything. The vision tower is
a random-feature extractor (A. Rahimi, B. Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007) whose
first layer is band-pass filters, so that its outputs tell spectra apart. What heads achieve on these features shows
that the program runs, and says nothing about detection with real encoders.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizer, CLIPVisionConfig, CLIPVisionModel

from demo.dataset import SIZE
from demo.scenes import WORDS

__all__ = ["write_text_encoder", "write_vision_encoder"]

_PATCH = 8


def write_text_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write an untrained BERT of two layers, and a WordPiece tokenizer of the grammar's words and of characters.

    Parameters
    ----------
    folder
        Receives ``config.json``, ``model.safetensors``, ``tokenizer.json``, ``tokenizer_config.json``, ``vocab.txt``.
    seed
        The same seed and torch version give the same weight bytes.

    Returns
    -------
    Path
        The folder, which ``AutoModel`` and ``AutoTokenizer`` can load.
    """
    vocabulary = _build_vocabulary()
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
    )
    with _seeded(seed):
        BertModel(config).save_pretrained(folder)
    ids = {token: index for index, token in enumerate(vocabulary)}
    BertTokenizer(vocab=ids, do_lower_case=True, model_max_length=128).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    return folder


def write_vision_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write an untrained CLIP vision tower of three layers, and the settings of its preprocessing.

    Parameters
    ----------
    folder
        Receives ``config.json``, ``model.safetensors``, ``preprocessor_config.json``.
    seed
        The same seed and torch version give the same weight bytes.

    Returns
    -------
    Path
        The folder, which ``CLIPVisionModel`` and ``AutoModel`` can load.
    """
    config = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        projection_dim=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=_PATCH,
    )
    with _seeded(seed):
        model = CLIPVisionModel(config)
        _randomise(model)
    model.save_pretrained(folder)
    text = json.dumps(_PREPROCESSOR, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")
    return folder


_PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": SIZE},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def _build_vocabulary() -> list[str]:
    """List special tokens, the grammar's words, and characters alone and as continuations."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = string.ascii_lowercase + string.digits
    pieces = [*letters, *string.punctuation, *(f"##{letter}" for letter in letters)]
    return list(dict.fromkeys([*special, "caption", *WORDS, *pieces]))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from a seeded generator inside, and leave the global one as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _randomise(model: CLIPVisionModel) -> None:
    """Replace the initial weights by those of a random-feature extractor.

    Positions are forgotten; the first attention averages nothing of use; each MLP bends the filter responses of a
    patch; and the later attentions, which are nearly uniform, average them into the class token.
    """
    model.embeddings.patch_embedding.weight.copy_(_draw_filters(len(model.embeddings.class_embedding)))
    model.embeddings.position_embedding.weight.zero_()
    layers: Iterable[Any] = model.encoder.layers
    for layer in layers:
        width = layer.mlp.fc1.in_features
        layer.mlp.fc1.weight.normal_(std=2 * width**-0.5)
        layer.mlp.fc1.bias.normal_(std=0.5)
        layer.mlp.fc2.weight.normal_(std=layer.mlp.fc2.in_features**-0.5)
        layer.self_attn.v_proj.weight.normal_(std=width**-0.5)
        layer.self_attn.out_proj.weight.normal_(std=2 * width**-0.5)


def _draw_filters(count: int) -> torch.Tensor:
    """Draw band-pass filters without mean, (count, 3, patch, patch).

    Each is a random mixture of cosines of one band, in a random colour direction that leans to grey; higher bands
    are scaled up, because natural pictures are weak there.
    """
    position, frequency = torch.arange(_PATCH) + 0.5, torch.arange(_PATCH)
    cosine = torch.cos(torch.pi * position[None, :] * frequency[:, None] / _PATCH)
    order = (frequency[:, None] + frequency[None, :]).float()
    centre = torch.linspace(1, 2 * _PATCH - 2, count)[:, None, None]
    mixture = torch.randn(count, _PATCH, _PATCH) * torch.exp(-0.5 * ((order - centre) / 1.0) ** 2) * (order > 0)
    filters = torch.einsum("nij,ip,jq->npq", mixture, cosine, cosine)
    filters /= filters.flatten(1).norm(dim=1)[:, None, None]
    colour = 1 + 0.7 * torch.randn(count, 3)
    return (centre**1.5)[:, None] * colour[:, :, None, None] * filters[:, None]
