"""Older configurations of CLIP, which describe each tower twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError

__all__ = ["check_said_once"]

_SAID = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12}
# What the configuration classes mean by a field that is not there. Ends of texts are compared with the tokenizer's.
_MEANT: Mapping[str, Mapping[str, object]] = {
    "text_config": _SAID
    | {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "max_position_embeddings": 77},
    "vision_config": _SAID
    | {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 224, "patch_size": 32},
}


def check_said_once(folder: ModelFolder, tower: Literal["text_config", "vision_config"]) -> None:
    """Raise `ModelError` if ``vision_config_dict`` or ``text_config_dict`` says otherwise than the field without dict.

    transformers goes by the former for a whole CLIP, and by the latter for one tower of it, which is what is loaded.
    """
    older, stated = folder.config.get(f"{tower}_dict"), folder.config.get(tower)
    if not isinstance(older, dict):
        return
    ours = stated if isinstance(stated, dict) else {}
    for name, meant in _MEANT[tower].items():
        if older.get(name, meant) != ours.get(name, meant):
            raise ModelError(
                f"model {folder.name!r}: config.json says {name} {older.get(name, meant)!r} in {tower}_dict and "
                f"{ours.get(name, meant)!r} in {tower}: write the right one into {tower}, and leave {tower}_dict out"
            )
