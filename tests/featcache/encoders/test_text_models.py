"""Which models are taken for texts, and how long a text each of the families of transformers takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from featcache.encoders.build import build_spec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.text_models import _AFTER_PADDING
from featcache.errors import ModelError

from factories import write_bert
from text_folders import CAPTIONS, reference_states, write_text, write_tokenizer

MODULES = [{"type": "sentence_transformers.models.Transformer", "path": ""},
           {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]  # fmt: skip
PLAIN = ("albert", "bert", "deberta-v2", "distilbert", "electra", "ernie", "modernbert")
KINDS = [
    pytest.param(kind, marks=() if kind in ("roberta", "bert") else pytest.mark.slow)
    for kind in sorted({*_AFTER_PADDING, *PLAIN})
]


def spec_of(folder: Path, *outputs: str) -> TextSpec:
    return TextSpec(resolve_model(str(folder)), outputs)


def starts_after_padding(config: Any) -> bool:
    """Whether the model of a configuration has a position embedding with a place for padding; made on no device."""
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    return any(
        getattr(module, "padding_idx", None) is not None
        for path, module in model.named_modules()
        if path.endswith("position_embeddings")
    )


@pytest.mark.slow
def test_all_types_that_start_after_the_padding_token_are_known() -> None:
    found, own = set(), {"esm": {"vocab_size": 33, "pad_token_id": 1}}
    for kind in {*MODEL_FOR_MASKED_LM_MAPPING_NAMES, "layoutlmv3", "lilt", "markuplm"}:
        config = transformers.AutoConfig.for_model(kind, **own.get(kind, {}))
        has_relative_positions = kind in ("funnel", "reformer")  # whose standard models cannot be made either
        if config.is_encoder_decoder or hasattr(config, "vision_config") or has_relative_positions:
            continue
        if starts_after_padding(config):
            found.add(kind)
    assert found == _AFTER_PADDING


@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
def test_a_text_of_the_greatest_length_is_encoded(tmp_path: Path, kind: str) -> None:
    n = 24
    length = {} if kind == "gpt2" else {"max_position_embeddings": n}
    folder = write_text(tmp_path / "m", kind, **length)
    outputs = ("mean",) if kind == "gpt2" else ("mean", "cls")
    spec = spec_of(folder, *outputs)
    assert spec.max_length == n - (2 if kind in _AFTER_PADDING else 0)
    encoder = spec.load("cpu")
    long = "a red ball " * n
    assert [len(ids) for ids in encoder.tokenise([long])] == [spec.max_length]
    vectors = encoder.encode([long, "a"])
    states = reference_states(folder, long, truncation=True, max_length=spec.max_length).numpy()
    for output in outputs:
        expected = {"mean": states.mean(0), "cls": states[0]}[output]
        np.testing.assert_allclose(vectors[output][0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["fnet", "convbert", "nystromformer", "yoso"])
def test_a_model_that_looks_at_padding_is_refused(tmp_path: Path, kind: str) -> None:
    folder = write_text(tmp_path / "m", kind)
    with pytest.raises(ModelError, match=rf"\({kind}\) looks at padding: the vector of a text would depend on the"):
        spec_of(folder, "mean").load("cpu")


def test_a_bigbird_reads_no_text_by_blocks_that_depend_on_padding(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "m", "big_bird", max_position_embeddings=1024)
    assert spec_of(folder, "mean").max_length == 512
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "modules.json").write_text(json.dumps(MODULES), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}", encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 704}', encoding="utf-8")
    assert spec_of(folder, "sentence").max_length == 704
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 705}', encoding="utf-8")
    said = "more than 704 tokens by blocks that depend on the padding .* allow 705: use mean or cls, of 512 tokens"
    with pytest.raises(ModelError, match=said):
        spec_of(folder, "sentence")
    (folder / "config.json").write_text(json.dumps(config | {"attention_type": "original_full"}), encoding="utf-8")
    assert spec_of(folder, "sentence").max_length == 705


def test_blocks_that_cannot_be_listened_to_have_no_output(tmp_path: Path) -> None:
    groups = dict.fromkeys(
        (f"{part}_groups" for part in ("q", "k", "v", "post_attention", "intermediate", "output")), 1
    )
    folder = write_text(tmp_path / "m", "squeezebert", embedding_size=32, **groups)
    with pytest.raises(
        ModelError, match=r"no output 'layers:1': transformers runs .*; it has: cls, last, mean, pooler$"
    ):
        spec_of(folder, "layers:1").load("cpu")


def test_the_first_layer_of_a_deberta_is_what_its_block_puts_out_before_the_convolution(tmp_path: Path) -> None:
    options = {"conv_kernel_size": 3, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
    folder = write_text(tmp_path / "m", "deberta-v2", **options)
    ours = spec_of(folder, "layers:all").load("cpu").encode(["a red ball"])
    model = transformers.AutoModel.from_pretrained(folder).eval()
    kept: list[torch.Tensor] = []
    model.encoder.layer[0].register_forward_hook(lambda _block, _inputs, result: kept.append(result[0]))
    ids = transformers.AutoTokenizer.from_pretrained(folder)("a red ball", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        _, after, second = model(input_ids=ids, output_hidden_states=True).hidden_states
    first = kept[0] if kept[0].ndim == 3 else kept[0][None]
    np.testing.assert_allclose(ours["layers:1"][0], first[0, 0], atol=1e-5)
    np.testing.assert_allclose(ours["layers:2"][0], second[0, 0], atol=1e-5)
    assert np.abs(ours["layers:1"][0] - after[0, 0].numpy()).max() > 1e-2


@pytest.mark.parametrize("kind", ["t5", "mt5", "umt5"])
def test_of_a_t5_the_encoder_is_taken(tmp_path: Path, kind: str) -> None:
    folder = write_text(tmp_path / "m", kind, "$A </s>")
    spec = spec_of(folder, "mean", "last")
    ours = spec.load("cpu").encode(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        states = reference_states(folder, caption).numpy()
        np.testing.assert_allclose(ours["mean"][row], states.mean(0), atol=1e-5)
        np.testing.assert_allclose(ours["last"][row], states[-1], atol=1e-5)
    assert spec.max_length == 512 and spec.widths == {"mean": 32, "last": 32}
    assert build_spec(spec.fingerprint, spec.outputs) == spec
    for output in ("cls", "layers:1"):
        with pytest.raises(ModelError, match=f"has no output '{output}'.*; it has: last, mean$"):
            spec_of(folder, output)


def test_a_whole_t5_gives_what_its_encoder_gives(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "encoder", "t5")
    whole = write_text(tmp_path / "whole", "t5")
    config = transformers.T5Config.from_pretrained(folder, is_encoder_decoder=True)
    model = transformers.T5ForConditionalGeneration(config)
    part = transformers.T5EncoderModel.from_pretrained(folder)
    model.encoder.load_state_dict(part.encoder.state_dict())
    model.shared.load_state_dict(part.shared.state_dict())
    model.save_pretrained(whole)
    assert json.loads((whole / "config.json").read_text())["is_encoder_decoder"]
    vectors = [spec_of(each, "mean").load("cpu").encode(CAPTIONS)["mean"] for each in (folder, whole)]
    np.testing.assert_array_equal(*vectors)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"model_type": "bart", "is_encoder_decoder": True},
        "is an encoder-decoder, of which only t5, mt5, umt5 are taken",
    ),
    ({"model_type": "qwen2_vl", "vision_config": {}}, "is no text-only model: use a BERT-family model"),
    ({"model_type": "qwen2_audio", "audio_config": {}}, "is no text-only model: use a BERT-family model"),
    ({"model_type": "mra"}, r"\(mra\) is not taken: its attention needs a CUDA kernel of its own, .*: use a BERT-fam"),
    ({"model_type": "chinese_clip"}, "the text tower of a CLIP is taken by --image-model, --clip-text"),
    ({"model_type": "vit", "patch_size": 16}, "reads pictures, not texts: name it with --image-model"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED)
def test_a_model_that_is_none_of_texts_alone_is_refused_with_what_to_use(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=message) as caught:
        spec_of(tmp_path, "mean")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("output", ["cls", "layers:1"])
def test_a_first_token_that_is_a_word_is_refused(tmp_path: Path, output: str) -> None:
    folder = write_text(tmp_path / "m", "bert", "$A </s>")
    with pytest.raises(ModelError, match=f"no output '{output}': its tokenizer puts nothing in front of a text"):
        spec_of(folder, output).load("cpu")
    spec_of(folder, "mean").load("cpu")


@pytest.mark.parametrize("kept", ["tokenizer.json", "vocab.txt"])
def test_capitals_are_not_lost_because_a_configuration_is(tmp_path: Path, kept: str) -> None:
    from tokenizers import BertWordPieceTokenizer

    folder = write_bert(tmp_path / "m")
    for name in ("tokenizer_config.json", "tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "A", "Red", "Ball", ",", "a", "red", "ball"]
    if kept == "vocab.txt":
        (folder / kept).write_text("\n".join(words), encoding="utf-8")
    else:
        cased = BertWordPieceTokenizer({word: i for i, word in enumerate(words)}, lowercase=False)
        cased.save(str(folder / kept))
    said = r"has no tokenizer_config\.json, and .*: add the model's own"
    with pytest.raises(ModelError, match=said):
        spec_of(folder, "cls").load("cpu")
    write_tokenizer(folder)  # of words, which transformers makes one of parts of words of, without the one for others
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=said):
        spec_of(folder, "cls").load("cpu")


@pytest.mark.parametrize("change", [{"transformers_weights": "other.safetensors"}, None])
def test_weights_that_are_not_told_are_not_loaded(tmp_path: Path, change: dict[str, str] | None) -> None:
    folder = write_bert(tmp_path / "m")
    if change is None:
        (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    else:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(ModelError, match=r"adapter_config\.json|names other weights, 'other\.safetensors'"):
        spec_of(folder, "cls").fingerprint  # noqa: B018


def test_outputs_are_found_whatever_the_configuration_says_of_their_form(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "m")
    expected = spec_of(folder, "cls").load("cpu").encode(CAPTIONS)["cls"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {"return_dict": False}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    np.testing.assert_array_equal(spec_of(folder, "cls").load("cpu").encode(CAPTIONS)["cls"], expected)


def test_weights_of_more_blocks_are_refused(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "m", "bert")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {"num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=r"has weights that BertModel leaves out, first 'encoder\.layer\.1\."):
        spec_of(folder, "mean").load("cpu")


def test_a_vocabulary_that_nothing_here_reads_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_text(tmp_path / "m", "deberta-v2")
    (folder / "tokenizer.json").rename(folder / "spm.model")
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("featcache.encoders.tokens.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"cannot be loaded: its spm\.model .*: pip install sentencepiece protobuf$"):
        spec_of(folder, "mean").load("cpu")


def test_a_tokenizer_without_its_configuration_is_enough(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "m")
    expected = spec_of(folder, "cls").load("cpu").encode(CAPTIONS)["cls"]
    (folder / "tokenizer_config.json").unlink()
    spec = spec_of(folder, "cls")
    assert spec.max_length == 40  # of the model; the tokenizer said 32
    np.testing.assert_array_equal(spec.load("cpu").encode(CAPTIONS)["cls"], expected)
