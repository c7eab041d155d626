"""BERT-family text encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import Device
from featcache.encoders.loading import autocast, load_weights, quiet_transformers, resolve_device
from featcache.errors import ModelError
from featcache.fingerprint import Fingerprint
from featcache.models import ModelFolder

__all__ = ["TEXT_OUTPUTS", "TextEncoder", "TextSpec"]

TEXT_OUTPUTS = ("cls", "mean", "pooler")
_MAX_LENGTH = 512
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")


@dataclass(frozen=True)
class TextSpec:
    """Which text encoder, and how it is fed.

    Attributes
    ----------
    folder : ModelFolder
        Any BERT-family model that ``AutoModel`` loads.
    outputs : tuple of {"cls", "mean", "pooler"}
        ``cls``: first token of the last layer. ``mean``: mean of the last layer over the real tokens.
        ``pooler``: the model's own pooler, where it has a trained one.
    template : str
        What is encoded; ``{caption}`` stands for the caption.
    compute_dtype, storage_dtype : str
        Of the forward, and on disk.
    """

    folder: ModelFolder
    outputs: tuple[str, ...] = ("cls",)
    template: str = "{caption}"
    compute_dtype: str = "float32"
    storage_dtype: str = "float16"
    modality: Literal["text"] = field(default="text", init=False)

    def __post_init__(self) -> None:
        if "{caption}" not in self.template:
            raise ModelError(f"text template {self.template!r} does not contain {{caption}}")
        for output in self.outputs:
            if output not in TEXT_OUTPUTS:
                raise ModelError(f"text output {output!r} is unknown, expected one of {', '.join(TEXT_OUTPUTS)}")
        if self.folder.config.get("is_encoder_decoder") or "vision_config" in self.folder.config:
            raise ModelError(f"model {self.folder.name!r} ({self.folder.model_type}) is no BERT-family text encoder")

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included: what the model and its tokenizer can take."""
        config = self.folder.config
        positions = int(config.get("max_position_embeddings") or _MAX_LENGTH)
        if self.folder.model_type in _OFFSET_POSITIONS:
            positions -= int(config.get("pad_token_id") or 0) + 1
        limit = self.folder.read_json("tokenizer_config.json").get("model_max_length") or _MAX_LENGTH
        return int(min(_MAX_LENGTH, positions, limit))

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the producer."""
        identity = {
            "format": 1,
            "modality": "text",
            "model": self.folder.document(),
            "tokenizer": self.folder.tokenizer_digest(),
            "template": self.template,
            "max_length": self.max_length,
            "truncation": "right",
            "compute_dtype": self.compute_dtype,
            "storage_dtype": self.storage_dtype,
        }
        return Fingerprint(identity, self.folder.source())

    def prepare(self, content: bytes) -> str:
        """Put a caption's UTF-8 into the template."""
        return self.template.replace("{caption}", content.decode("utf-8"))

    def load(self, device: Device) -> TextEncoder:
        """Read weights and tokenizer."""
        return TextEncoder(self, resolve_device(device))


class TextEncoder:
    """A loaded text encoder."""

    def __init__(self, spec: TextSpec, device: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.spec = spec
        self.device = device
        model, absent = load_weights(spec.folder, AutoModel, optional=("pooler.",))
        if "pooler" in spec.outputs and (absent or getattr(model, "pooler", None) is None):
            raise ModelError(f"model {spec.folder.name!r} has no trained output 'pooler'; it has: cls, mean")
        self._model = model.to(device)
        try:
            with quiet_transformers():
                self._tokenizer = AutoTokenizer.from_pretrained(spec.folder.path, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise ModelError(f"tokenizer of model {spec.folder.name!r} cannot be loaded: {error}") from error
        if self._tokenizer.pad_token is None:
            raise ModelError(f"tokenizer of model {spec.folder.name!r} has no padding token")
        self._tokenizer.truncation_side = "right"
        self._tokenizer.padding_side = "right"

    def encode(self, batch: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return one (n, d) float32 array per output for ``n`` texts."""
        import torch

        tokens = self._tokenizer(
            list(batch), padding=True, truncation=True, max_length=self.spec.max_length, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode(), autocast(self.device, self.spec.compute_dtype):
            states = self._model(**tokens)
        vectors = {name: _text_output(name, states, tokens["attention_mask"]) for name in self.spec.outputs}
        return {name: vector.float().cpu().numpy() for name, vector in vectors.items()}


def _text_output(name: str, states: Any, mask: Any) -> Any:
    if name == "pooler":
        return states.pooler_output
    last = states.last_hidden_state.float()
    if name == "cls":
        return last[:, 0]
    weights = mask.unsqueeze(-1).to(last.dtype)
    return (last * weights).sum(1) / weights.sum(1)
