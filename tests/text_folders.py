"""Tiny random models of texts of any type that transformers has, saved as model folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CAPTIONS = ["a red ball", "caption number 7", "a a a a a a a a a a", "ball"]
"""Texts of mixed lengths."""
_WORDS = ["<s>", "<pad>", "</s>", "<unk>", "caption", "number", "a", "red", "ball", *map(str, range(10))]
_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 1,
    "bos_token_id": 0, "eos_token_id": 2, "vocab_size": len(_WORDS),
}  # fmt: skip
_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
_OWN: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 24},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 16},
    "mistral": {"num_key_value_heads": 1},
    "longformer": {"attention_window": 4},
    "luke": {"entity_vocab_size": 4, "entity_emb_size": 8},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, "input_size": 32},
    "lilt": {"hidden_size": 48, "channel_shrink_ratio": 2, "max_2d_position_embeddings": 32},
    "esm": {"mask_token_id": 3},
} | {name: {"d_model": 32, "d_ff": 32, "d_kv": 16, "num_layers": 2, "num_heads": 2} for name in _ENCODERS}


def write_tokenizer(folder: Path, template: str = "<s> $A </s>", **options: Any) -> None:
    """Save a tokenizer of a few words; what it puts around a text is in the template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(_WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(word, _WORDS.index(word)) for word in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(names | options)).save_pretrained(folder)


def write_text(folder: Path, kind: str, template: str = "<s> $A </s>", seed: int = 0, **config: Any) -> Path:
    """Save a tiny random model of a type, with a tokenizer."""
    import torch
    import transformers

    made = transformers.AutoConfig.for_model(kind, **(_SMALL | _OWN.get(kind, {}) | config))
    model_class: Any = getattr(transformers, _ENCODERS.get(kind, "AutoModel"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(made) if kind in _ENCODERS else model_class.from_config(made)
    model.save_pretrained(folder)
    write_tokenizer(folder, template)
    return folder


def reference_states(folder: Path, text: str, **options: Any) -> Any:
    """What transformers' own model makes of one text: its last hidden states (w, d)."""
    import json

    import torch
    import transformers

    kind = json.loads((folder / "config.json").read_text())["model_type"]
    model_class: Any = getattr(transformers, _ENCODERS.get(kind, "AutoModel"))
    model = model_class.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", **options)
    with torch.no_grad():
        return model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state[0]
