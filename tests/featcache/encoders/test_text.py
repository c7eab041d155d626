"""Texts through models of other families than BERT, against transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcache.encoders.build import build_spec, encoder_options
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.errors import ModelError

from text_folders import CAPTIONS, reference_states, write_text, write_tokenizer

CAUSAL = ("gpt2", "qwen3", "mistral")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    kinds = {kind: (kind, {}) for kind in (*CAUSAL, "roberta")}
    kinds["gemma-bidirectional"] = ("gemma3_text", {"use_bidirectional_attention": True})
    kinds["bert-decoder"] = ("bert", {"is_decoder": True})
    return {name: write_text(root / name, kind, **config) for name, (kind, config) in kinds.items()}


def spec_of(folder: Path, *outputs: str) -> TextSpec:
    return TextSpec(resolve_model(str(folder)), outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CAUSAL, "gemma-bidirectional", "bert-decoder", "roberta"])
def test_the_last_and_the_mean_of_the_tokens_of_any_text_equal_those_of_transformers(
    folders: dict[str, Path], name: str
) -> None:
    spec = spec_of(folders[name], "last", "mean")
    ours = spec.load("cpu").encode(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        states = reference_states(folders[name], caption).numpy()
        np.testing.assert_allclose(ours["last"][row], states[-1], atol=1e-5)
        np.testing.assert_allclose(ours["mean"][row], states.mean(0), atol=1e-5)
    assert ours["last"].shape == (len(CAPTIONS), spec.widths["last"])


@pytest.mark.parametrize(("name", "output"), [
    *((name, "cls") for name in (*CAUSAL, "bert-decoder")), ("qwen3", "layers:1"), ("bert-decoder", "last,layers:all")
])  # fmt: skip
def test_first_tokens_of_a_causal_model_are_refused_with_the_reason(
    folders: dict[str, Path], name: str, output: str
) -> None:
    said = r"has no output '(cls|layers:1)': it is causal, so the first token .*; it has: last, mean"
    with pytest.raises(ModelError, match=said) as caught:
        spec_of(folders[name], output).check()
    assert "layers" not in str(caught.value).partition("it has:")[2]


def test_a_model_of_a_causal_type_that_reads_both_ways_has_first_tokens(folders: dict[str, Path]) -> None:
    ours = spec_of(folders["gemma-bidirectional"], "cls").load("cpu").encode(CAPTIONS)["cls"]
    expected = [reference_states(folders["gemma-bidirectional"], caption)[0].numpy() for caption in CAPTIONS]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_the_last_token_is_the_one_that_the_tokenizer_ends_texts_with_or_the_last_word(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "m", "qwen3")
    for template, options in (("$A </s>", {}), ("$A", {}), ("<s> $A", {"pad_token": None})):
        write_tokenizer(folder, template, **options)
        ours = spec_of(folder, "last").load("cpu").encode(CAPTIONS)["last"]
        expected = [reference_states(folder, caption)[-1].numpy() for caption in CAPTIONS]
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_of_a_text_that_is_cut_the_end_stays(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "m", "gpt2", "$A </s>", n_positions=8)
    spec = spec_of(folder, "last")
    assert spec.max_length == 8
    long = "a red ball " * 5
    expected = reference_states(folder, long, truncation=True, max_length=8)[-1].numpy()
    np.testing.assert_allclose(spec.load("cpu").encode([long, "a"])["last"][0], expected, atol=1e-5)


def test_a_text_without_a_token_has_no_vector_of_numbers_and_harms_no_other(tmp_path: Path) -> None:
    encoder = spec_of(write_text(tmp_path / "m", "qwen3", "$A"), "last", "mean").load("cpu")
    alone, beside = encoder.encode([""]), encoder.encode(["", "a red ball"])
    for output in ("last", "mean"):
        assert np.isnan(alone[output]).all() and np.isnan(beside[output][0]).all()
        np.testing.assert_allclose(beside[output][1], encoder.encode(["a red ball"])[output][0], atol=1e-6)


def test_a_document_makes_its_encoder_again_and_names_its_options(folders: dict[str, Path]) -> None:
    spec = spec_of(folders["qwen3"], "last", "mean")
    assert build_spec(spec.fingerprint, spec.outputs) == spec
    assert spec.fingerprint.digest == spec_of(folders["qwen3"], "mean").fingerprint.digest
    options = encoder_options(spec.fingerprint, spec.outputs, ("float32", "float16"))
    assert options == {"--text-model": str(folders["qwen3"]), "--text-outputs": "last,mean"}
