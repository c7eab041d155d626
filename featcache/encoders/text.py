"""Encoders of texts: the BERT family, encoders of T5s, causal embedders, sentence-transformers folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from featcache.encoders.blocks import BlockOutputs, n_blocks
from featcache.encoders.captions import CaptionSpec
from featcache.encoders.loading import load_weights, lower
from featcache.encoders.pooling import pool
from featcache.encoders.sentence import MODULES, SentenceRecipe, read_recipe
from featcache.encoders.sentence_vectors import SentenceVectors
from featcache.encoders.text_models import (
    check_reads_texts,
    encoder_class,
    has_class_token,
    is_causal,
    n_positions,
    n_unpadded,
    sees_padding,
)
from featcache.encoders.tokens import Tokeniser
from featcache.errors import ModelError
from featcache.identity.outputs import abbreviate, expand, is_layer, layer_name

__all__ = ["TEXT_OUTPUTS", "TextSpec"]

TEXT_OUTPUTS = ("cls", "mean", "last", "pooler", "sentence")
"""Names besides ``layers:k``."""

_MAX_LENGTH = 512
_NO_LIMIT = 1 << 31
_POOLER = "pooler."
_POOLED = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "albert")
"""Types of model of which it is known that a pooling layer has parameters; of others only loading tells."""
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")
_MODES = {"cls": "cls", "mean": "mean", "last": "lasttoken"}


@dataclass(frozen=True)
class TextSpec(CaptionSpec):
    """Which text encoder, and how it is fed.

    Attributes
    ----------
    folder : ModelFolder
        Any model of texts that ``AutoModel`` loads; of T5s the encoder is taken.
    outputs : tuple of str
        ``cls``: first token of the last layer. ``mean``: mean of the last layer over the real tokens. ``last``: last
        real token of the last layer, which is where a causal embedder has read all. ``pooler``: the model's own
        pooler, where it has a trained one. ``layers:k``: the first token as the k-th block puts it out. ``sentence``:
        what sentence-transformers makes of a text, where the folder has its files. May be given as a request
        (``layers:all``).
    template, compute_dtype, storage_dtype
        What they are in `CaptionSpec`. The folder's default prompt counts where texts are fed as sentence-transformers
        feeds them.
    as_sentences : bool
        Whether texts are fed as sentence-transformers feeds them (longest input, lower case, prompt). So they are
        for all outputs if ``sentence`` is one of them.
    """

    outputs: tuple[str, ...] = ("cls",)
    as_sentences: bool = False

    def __post_init__(self) -> None:
        check_reads_texts(self.folder)
        owner = f"model {self.folder.name!r} ({self.folder.model_type})"
        outputs = expand(self.outputs, self._available, owner=owner, reasons=self._lacking, error=ModelError)
        object.__setattr__(self, "outputs", outputs)
        object.__setattr__(self, "as_sentences", self.as_sentences or "sentence" in outputs)
        super().__post_init__()
        most = n_unpadded(self.folder)
        if most is not None and self.max_length > most:
            instead = "mean or cls, of 512 tokens" if most >= _MAX_LENGTH else "a model of another type"
            raise ModelError(
                f"{owner} reads texts of more than {most} tokens by blocks that depend on the padding behind them, and "
                f"its files allow {self.max_length}: use {instead}"
            )

    @cached_property
    def recipe(self) -> SentenceRecipe | None:
        """What the files of sentence-transformers say; None if texts are fed as they are by default."""
        return read_recipe(self.folder) if self.as_sentences else None

    @property
    def default_prompt(self) -> str:
        """What stands before a caption where no template is given."""
        return "" if self.recipe is None else self.recipe.prompt

    @property
    def lower_case(self) -> bool:
        """Whether texts are put in lower case before the tokenizer does what it does."""
        return self.recipe is not None and self.recipe.lower_case

    @property
    def _own_fields(self) -> Mapping[str, Any]:
        return {} if self.recipe is None else {"sentence": self.recipe.document()}

    @property
    def _available(self) -> tuple[str, ...]:
        """Names of what it can put out, as far as its files tell."""
        layers = tuple(layer_name(k + 1) for k in range(self.n_blocks)) if has_class_token(self.folder) else ()
        return (*(name for name in TEXT_OUTPUTS if name not in self._lacking), *layers)

    @property
    def _lacking(self) -> Mapping[str, str]:
        """Outputs that others have, and why it has not."""
        found = {} if (self.folder.path / MODULES).is_file() else {"sentence": f"it has no {MODULES}"}
        if not has_class_token(self.folder):
            return found | {"cls": "its texts begin with no class token", "pooler": "it has no pooling layer"}
        has_pooler = self.folder.model_type not in _POOLED or self.folder.may_have(_POOLER)
        return found | ({} if has_pooler else {"pooler": "its pooling layer has no weights"})

    @property
    def n_blocks(self) -> int:
        """How many blocks follow each other; 0 if the configuration does not say."""
        return n_blocks(self.folder.config)

    @property
    def widths(self) -> Mapping[str, int]:
        """Columns of the outputs; empty if the configuration does not say."""
        stated = (self.folder.config.get(name) for name in _WIDTHS)
        width = next((n for n in stated if isinstance(n, int) and not isinstance(n, bool) and n > 0), None)
        if width is None:
            return {}
        own = {} if self.recipe is None else {"sentence": self.recipe.width(width)}
        return {name: own.get(name, width) for name in self.outputs}

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included: what the model and its tokenizer can take."""
        file = "tokenizer_config.json"
        tokenizer = self.folder.read_json(file) if (self.folder.path / file).is_file() else {}
        try:
            stated = int(tokenizer.get("model_max_length") or _NO_LIMIT)
        except (OverflowError, TypeError, ValueError) as error:
            raise ModelError(f"model {self.folder.name!r} states no number as its longest input: {error}") from None
        positions = n_positions(self.folder) or _NO_LIMIT
        if self.recipe is None:
            return min(_MAX_LENGTH, positions, stated)
        limit = min(self.recipe.max_length or stated, positions)
        return limit if limit < _NO_LIMIT else _MAX_LENGTH

    def _load(self, device: str, tokeniser: Tokeniser) -> _Text:
        return _Text(self, device, tokeniser)

    def refusal(self, outputs: tuple[str, ...], why: str) -> ModelError:
        """Return the error that the loaded model has no such outputs after all."""
        others = abbreviate(name for name in self._available if name not in outputs)
        asked = next(name for name in self.outputs if name in outputs)
        return ModelError(f"model {self.folder.name!r} has no output {asked!r}: {why}; it has: {others}")


class _Text:
    """A model of which the last hidden states are pooled in several ways."""

    def __init__(self, spec: TextSpec, device: str, tokeniser: Tokeniser) -> None:
        model, absent = load_weights(spec.folder, encoder_class(spec.folder), optional=(_POOLER,))
        if "pooler" in spec.outputs and (absent or getattr(model, "pooler", None) is None):
            why = "its pooling layer has no weights" if absent else "it has no pooling layer"
            raise spec.refusal(("pooler",), why)
        self._blocks = BlockOutputs(model, spec.outputs, spec.n_blocks, spec.folder.name)
        _refuse_first(spec, model, tokeniser)
        if sees_padding(model, tokeniser):
            raise ModelError(
                f"model {spec.folder.name!r} ({spec.folder.model_type}) looks at padding: the vector of a text would "
                "depend on the texts that it is encoded with; use a model of another type"
            )
        told = self._blocks.take()
        if any(is_layer(name) and name not in told for name in spec.outputs):
            layers = tuple(name for name in spec._available if is_layer(name))
            raise spec.refusal(layers, "transformers runs its blocks so that they cannot be listened to")
        if getattr(model.config, "use_cache", False):
            model.config.use_cache = False  # nothing is generated: keys and values need not be kept
        self._outputs = spec.outputs
        self._sentence: SentenceVectors | None = None
        if spec.recipe is not None and "sentence" in spec.outputs:
            before = "" if spec.recipe.includes_prompt else spec.template.partition("{caption}")[0]
            self._sentence = SentenceVectors(
                spec.recipe, tokeniser.n_leading(before), device=device, compute_dtype=spec.compute_dtype
            )
        self._model = lower(model, spec.compute_dtype).to(device)

    def __call__(self, ids: Any, mask: Any) -> Mapping[str, Any]:
        states = self._model(input_ids=ids, attention_mask=mask)
        vectors = self._blocks.take()
        return {name: vectors[name] if name in vectors else self._pool(name, states, mask) for name in self._outputs}

    def _pool(self, name: str, states: Any, mask: Any) -> Any:
        if name == "pooler":
            return states.pooler_output
        if name == "sentence":
            assert self._sentence is not None
            return self._sentence(states.last_hidden_state, mask)
        return pool(_MODES[name], states.last_hidden_state, mask)


def _refuse_first(spec: TextSpec, model: Any, tokeniser: Tokeniser) -> None:
    """Make sure that first tokens tell texts apart: that they are no words, and see what follows."""
    first = {"cls"} | ({"sentence"} if spec.recipe is not None and spec.recipe.pooling == ("cls",) else set())
    wanted = tuple(name for name in spec.outputs if name in first or is_layer(name))
    gone = tuple(name for name in spec._available if name in first or is_layer(name))
    if wanted and not tokeniser.begins_alike:
        raise spec.refusal(gone, "its tokenizer puts nothing in front of a text, whose first token is its first word")
    if wanted and is_causal(model, tokeniser):
        raise spec.refusal(("pooler", *gone), "it is causal, so the first token of a text sees none of the others")
