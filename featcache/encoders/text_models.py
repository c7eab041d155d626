"""Which models read texts, what transformers loads them as, how long a text they take, and which way they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError

if TYPE_CHECKING:
    from featcache.encoders.tokens import Tokeniser

__all__ = [
    "check_reads_texts",
    "encoder_class",
    "has_class_token",
    "is_causal",
    "n_positions",
    "n_unpadded",
    "sees_padding",
]

_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Encoder-decoders of which transformers has the encoder alone; their positions are relative and have no end."""
_AFTER_PADDING = frozenset({
    "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet",
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Types whose first position is the one after the id of the padding token, so that those before it are no use."""
_PAD_TOKENS = {"lilt": 0, "markuplm": 0}
"""What the configuration classes of such types mean by a ``pad_token_id`` that is not there, where it is not 1."""
_WITHOUT_KERNEL = {"mra": "its attention needs a CUDA kernel of its own, and sees nothing without it"}
"""Types that transformers makes a model of, but no vectors that tell anything."""
_POSITIONS = ("max_position_embeddings", "n_positions")
_PROBED = 16


def check_reads_texts(folder: ModelFolder) -> None:
    """Raise `ModelError`, which says what to use instead, unless a model is made for texts alone."""
    config, kind = folder.config, folder.model_type
    owner = f"model {folder.name!r} ({kind})"
    if kind in _ENCODERS:
        return
    if kind in _WITHOUT_KERNEL:
        raise ModelError(f"{owner} is not taken: {_WITHOUT_KERNEL[kind]}: use a BERT-family model")
    if config.get("is_encoder_decoder"):
        raise ModelError(
            f"{owner} is an encoder-decoder, of which only {', '.join(_ENCODERS)} are taken (their encoders): "
            "use one of these, a BERT-family model or a causal embedder"
        )
    if "clip" in kind:
        raise ModelError(
            f"{owner} is no text-only model: the text tower of a CLIP is taken by --image-model, --clip-text"
        )
    if "vision_config" in config or "audio_config" in config:
        raise ModelError(f"{owner} is no text-only model: use a BERT-family model, a T5 or a causal embedder")
    if "patch_size" in config and "vocab_size" not in config:
        raise ModelError(f"{owner} reads pictures, not texts: name it with --image-model")


def encoder_class(folder: ModelFolder) -> Any:
    """Return the class of transformers that loads a model."""
    import transformers

    return getattr(transformers, _ENCODERS.get(folder.model_type, "AutoModel"))


def has_class_token(folder: ModelFolder) -> bool:
    """Tell whether the first token of a text may stand for all of it."""
    return folder.model_type not in _ENCODERS


def n_positions(folder: ModelFolder) -> int | None:
    """Return how many tokens a model has positions for; None if there is no such limit, or none is stated.

    Raises
    ------
    ModelError
        If what is stated is no number.
    """
    if folder.model_type in _ENCODERS:
        return None
    config = folder.config
    stated = next((config[name] for name in _POSITIONS if config.get(name)), None)
    if stated is None:
        return None
    try:
        n = int(stated)
        if folder.model_type in _AFTER_PADDING:
            n -= int(config.get("pad_token_id", _PAD_TOKENS.get(folder.model_type, 1)) or 0) + 1
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {folder.name!r} states no number as its longest input: {error}") from None
    return n


def n_unpadded(folder: ModelFolder) -> int | None:
    """Return how long a text may be before what is computed of it depends on padding; None: as long as it likes.

    A BigBird reads longer ones by blocks, and the last of them is counted from the end of the padded text.
    """
    config = folder.config
    if folder.model_type != "big_bird" or config.get("attention_type", "block_sparse") != "block_sparse":
        return None
    size, n_random = config.get("block_size", 64), config.get("num_random_blocks", 3)
    if not isinstance(size, int) or not isinstance(n_random, int):
        raise ModelError(f"model {folder.name!r} states no number as the size or number of its blocks")
    return (5 + 2 * n_random) * size


def sees_padding(model: Any, tokeniser: Tokeniser) -> bool:
    """Tell whether tokens see the padding behind them although it is masked, as those of a FNet or ConvBERT do."""
    import torch

    width = min(_PROBED, tokeniser.max_length)
    alone = torch.tensor([[*tokeniser.two_words] * width])[:, : width // 2]
    padded = torch.nn.functional.pad(alone, (0, width - width // 2), value=tokeniser.padding)
    mask = (torch.arange(width) < width // 2).long()[None]
    with torch.inference_mode():
        expected = model(input_ids=alone, attention_mask=torch.ones_like(alone)).last_hidden_state
        found = model(input_ids=padded, attention_mask=mask).last_hidden_state[:, : alone.shape[1]]
    return bool((found - expected).abs().max() > 1e-3 * expected.abs().max())


def is_causal(model: Any, tokeniser: Tokeniser) -> bool:
    """Tell whether the tokens of a text see only those before them.

    It is tried out: configurations say it in many ways, or in none. A first token that sees nothing is the same
    whatever follows.
    """
    import torch

    word, other = tokeniser.two_words
    ids = torch.tensor([[word] * _PROBED, [word] + [other] * (_PROBED - 1)])
    with torch.inference_mode():
        first = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, 0]
    return bool((first[0] - first[1]).abs().max() <= 1e-5 * first.abs().max())
