"""BERT-family text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featcache.encoders.blocks import BlockOutputs, n_blocks
from featcache.encoders.captions import CaptionSpec
from featcache.encoders.loading import load_weights, lower
from featcache.encoders.tokens import Tokeniser
from featcache.errors import ModelError
from featcache.identity.outputs import abbreviate, expand, layer_name

__all__ = ["TEXT_OUTPUTS", "TextSpec"]

TEXT_OUTPUTS = ("cls", "mean", "pooler")
"""Names besides ``layers:k``."""

_MAX_LENGTH = 512
_POOLER = "pooler."
_POOLED = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "albert")
"""Types of model of which it is known that a pooling layer has parameters; of others only loading tells."""
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
_WIDTHS = ("hidden_size", "dim", "d_model")


@dataclass(frozen=True)
class TextSpec(CaptionSpec):
    """Which text encoder, and how it is fed.

    Attributes
    ----------
    folder : ModelFolder
        Any BERT-family model that ``AutoModel`` loads.
    outputs : tuple of str
        ``cls``: first token of the last layer. ``mean``: mean of the last layer over the real tokens.
        ``pooler``: the model's own pooler, where it has a trained one. ``layers:k``: the first token as the k-th
        block puts it out. May be given as a request (``layers:all``).
    template, compute_dtype, storage_dtype
        What they are in `CaptionSpec`.
    """

    outputs: tuple[str, ...] = ("cls",)

    def __post_init__(self) -> None:
        super().__post_init__()
        config = self.folder.config
        if config.get("is_encoder_decoder") or "vision_config" in config or "clip" in self.folder.model_type:
            raise ModelError(f"model {self.folder.name!r} ({self.folder.model_type}) is no BERT-family text encoder")
        owner = f"model {self.folder.name!r} ({self.folder.model_type})"
        layers = (layer_name(k + 1) for k in range(self.n_blocks))
        lacking = self._untrained
        has = [output for output in (*TEXT_OUTPUTS, *layers) if output not in lacking]
        outputs = expand(self.outputs, has, owner=owner, reasons=lacking, error=ModelError)
        object.__setattr__(self, "outputs", outputs)

    @property
    def _untrained(self) -> Mapping[str, str]:
        has_pooler = self.folder.model_type not in _POOLED or self.folder.may_have(_POOLER)
        return {} if has_pooler else {"pooler": "its pooling layer has no weights"}

    @property
    def n_blocks(self) -> int:
        """How many blocks follow each other; 0 if the configuration does not say."""
        return n_blocks(self.folder.config)

    @property
    def widths(self) -> Mapping[str, int]:
        """Columns of the outputs; empty if the configuration does not say."""
        stated = (self.folder.config.get(name) for name in _WIDTHS)
        width = next((n for n in stated if isinstance(n, int) and not isinstance(n, bool) and n > 0), None)
        return {} if width is None else dict.fromkeys(self.outputs, width)

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included: what the model and its tokenizer can take."""
        config, tokenizer = self.folder.config, self.folder.read_json("tokenizer_config.json")
        try:
            positions = int(config.get("max_position_embeddings") or _MAX_LENGTH)
            if self.folder.model_type in _OFFSET_POSITIONS:
                positions -= int(config.get("pad_token_id") or 0) + 1
            return int(min(_MAX_LENGTH, positions, tokenizer.get("model_max_length") or _MAX_LENGTH))
        except (TypeError, ValueError) as error:
            raise ModelError(f"model {self.folder.name!r} states no number as its longest input: {error}") from None

    def _load(self, device: str, tokeniser: Tokeniser) -> _Bert:
        return _Bert(self, device)


class _Bert:
    """A model of which the last hidden states are pooled in several ways."""

    def __init__(self, spec: TextSpec, device: str) -> None:
        from transformers import AutoModel

        model, absent = load_weights(spec.folder, AutoModel, optional=(_POOLER,))
        if "pooler" in spec.outputs and (absent or getattr(model, "pooler", None) is None):
            others = ("cls", "mean", *(layer_name(k + 1) for k in range(spec.n_blocks)))
            why = "its pooling layer has no weights" if absent else "it has no pooling layer"
            raise ModelError(f"model {spec.folder.name!r} has no output 'pooler': {why}; it has: {abbreviate(others)}")
        self._outputs = spec.outputs
        self._blocks = BlockOutputs(model, spec.outputs, spec.n_blocks, spec.folder.name)
        self._model = lower(model, spec.compute_dtype).to(device)

    def __call__(self, ids: Any, mask: Any) -> Mapping[str, Any]:
        states = self._model(input_ids=ids, attention_mask=mask)
        vectors = self._blocks.take()
        return {name: vectors[name] if name in vectors else _pool(name, states, mask) for name in self._outputs}


def _pool(name: str, states: Any, mask: Any) -> Any:
    if name == "pooler":
        return states.pooler_output
    last = states.last_hidden_state.float()
    if name == "cls":
        return last[:, 0]
    weights = mask.unsqueeze(-1).to(last.dtype)
    return (last * weights).sum(1) / weights.sum(1)
