"""The text tower of CLIP: captions in the space that its vision tower projects pictures into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featcache.encoders.captions import CaptionSpec
from featcache.encoders.clip_config import check_said_once
from featcache.encoders.loading import load_weights, lower
from featcache.encoders.tokens import Tokeniser
from featcache.errors import ModelError
from featcache.identity.outputs import expand

__all__ = ["CLIP_TEXT_OUTPUTS", "ClipTextSpec"]

CLIP_TEXT_OUTPUTS = ("projected", "pooled")
MODEL_TYPES = ("clip", "clip_text_model")
# What the configuration classes mean by a field that is not there.
_DEFAULTS = {"hidden_size": 512, "projection_dim": 512, "max_position_embeddings": 77, "eos_token_id": 49407}
_LEGACY_END = 2
_PROJECTION = "text_projection."


@dataclass(frozen=True)
class ClipTextSpec(CaptionSpec):
    """Which CLIP, and how its text tower is fed.

    Attributes
    ----------
    folder : ModelFolder
        A whole CLIP, or its text tower.
    outputs : tuple of str
        ``projected``: the pooled output after the projection; its cosine with ``projected`` of the same CLIP's vision
        tower is CLIP's similarity of caption and picture. ``pooled``: the token that ends the text, before it.
    template, compute_dtype, storage_dtype
        What they are in `CaptionSpec`.
    """

    outputs: tuple[str, ...] = ("projected",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folder.model_type not in MODEL_TYPES:
            raise ModelError(
                f"model {self.folder.name!r} has type {self.folder.model_type!r}, expected a CLIP with a text tower "
                f"({', '.join(MODEL_TYPES)}), as transformers has it"
            )
        check_said_once(self.folder, "text_config")
        owner = f"the text tower of model {self.folder.name!r}"
        lacking = {} if self.folder.may_have(_PROJECTION) else {"projected": "it has no weights of a projection"}
        has = [output for output in CLIP_TEXT_OUTPUTS if output not in lacking]
        outputs = expand(self.outputs, has, owner=owner, reasons=lacking, error=ModelError)
        object.__setattr__(self, "outputs", outputs)

    def _size(self, name: str) -> int:
        nested = self.folder.config.get("text_config")
        tower = nested if isinstance(nested, dict) else self.folder.config
        # A whole CLIP projects to the width stated beside its towers, whatever is written in them.
        config = self.folder.config if name == "projection_dim" else tower
        value = config.get(name, _DEFAULTS[name])
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 20:
            raise ModelError(f"model {self.folder.name!r}: config.json has {name} {value!r}, expected a whole number")
        return value

    @property
    def widths(self) -> Mapping[str, int]:
        """Columns of the outputs."""
        fields = {"projected": "projection_dim", "pooled": "hidden_size"}
        return {output: self._size(fields[output]) for output in self.outputs}

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""
        return self._size("max_position_embeddings")

    @property
    def _own_fields(self) -> Mapping[str, str]:
        return {"tower": "clip-text"}

    @property
    def projection_dim(self) -> int:
        """Columns of the space shared with pictures."""
        return self._size("projection_dim")

    @property
    def end(self) -> int:
        """The token that ends a text, as the configuration has it."""
        return self._size("eos_token_id")

    def _load(self, device: str, tokeniser: Tokeniser) -> _ClipText:
        _check_end(self, tokeniser)
        return _ClipText(self, device)


class _ClipText:
    """The text tower, with the projection if that is asked for."""

    def __init__(self, spec: ClipTextSpec, device: str) -> None:
        model = _load(spec)
        self._outputs = spec.outputs
        self._project = getattr(model, _PROJECTION[:-1], None)
        # transformers puts the tower of a projecting class, and in its first fifth versions of any CLIP, one down.
        self._tower = getattr(model, "text_model", model)
        lower(model, spec.compute_dtype).to(device)

    def __call__(self, ids: Any, mask: Any) -> Mapping[str, Any]:
        vectors = {"pooled": self._tower(input_ids=ids, attention_mask=mask).pooler_output}
        if self._project is not None:
            vectors["projected"] = self._project(vectors["pooled"])
        return {name: vectors[name] for name in self._outputs}


def _check_end(spec: ClipTextSpec, tokeniser: Tokeniser) -> None:
    """Make sure that the model pools where the tokenizer ends a text: it would pool elsewhere without a word.

    Configurations that say 2 are older than the field: there the largest id of a text marks its end.
    """
    expected, found = spec.end, tokeniser.end
    if expected == _LEGACY_END and found != _LEGACY_END:
        expected = tokeniser.largest
    if found != expected:
        raise ModelError(f"model {spec.folder.name!r} pools at token {expected}, its tokenizer ends texts with {found}")


def _load(spec: ClipTextSpec) -> Any:
    import transformers

    if "projected" not in spec.outputs:
        return load_weights(spec.folder, transformers.CLIPTextModel)[0]
    model_class: Any = transformers.CLIPTextModelWithProjection
    changes = {"projection_dim": spec.projection_dim}
    model, absent = load_weights(spec.folder, model_class, optional=(_PROJECTION,), changes=changes)
    if absent:
        raise ModelError(
            f"model {spec.folder.name!r} has no output 'projected': it has no weights of a projection; it has: pooled"
        )
    return model
