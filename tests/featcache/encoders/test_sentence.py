"""Folders of sentence-transformers: what their files say is what is done, and nothing else is guessed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from numpy.typing import NDArray
from safetensors.torch import save_file

from featcache.encoders.build import build_spec, encoder_options
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.sentence import read_recipe
from featcache.encoders.single import encode_caption
from featcache.encoders.text import TextSpec
from featcache.errors import ModelError

from text_folders import CAPTIONS, reference_states, write_text

MATERIAL = Path(os.environ.get("FEATCACHE_TEST_MATERIAL", Path(__file__).resolve().parents[4] / "shared"))
MINILM = MATERIAL / "models" / "minilm-l6"
POSITIONS = np.arange(1, 513, dtype=np.float32)[:, None]
POOL: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]] = {
    "cls": lambda x, _: x[0],
    "max": lambda x, _: x.max(0),
    "mean": lambda x, _: x.mean(0),
    "mean_sqrt_len_tokens": lambda x, _: x.sum(0) / np.sqrt(len(x)),
    "weightedmean": lambda x, w: (x * w).sum(0) / w.sum(),
    "lasttoken": lambda x, _: x[-1],
}
FLAGS = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "lasttoken": "lasttoken"}
FLAGS |= {"mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "weightedmean": "weightedmean_tokens"}
TANH = "torch.nn.modules.activation.Tanh"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("models") / "bert", "bert")


def write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def add_files(folder: Path, pooling: dict[str, Any], *layers: str, **transformer: Any) -> Path:
    """Add the files of sentence-transformers to a model's folder."""
    kinds = ["Transformer", "Pooling", *layers]
    places = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds[1:], 1))]
    of = [f"sentence_transformers.models.{kind}" for kind in kinds]
    write(folder / "modules.json", [{"type": kind, "path": place} for kind, place in zip(of, places, strict=True)])
    write(folder / "1_Pooling" / "config.json", pooling)
    write(folder / "sentence_bert_config.json", transformer)
    return folder


def add_dense(folder: Path, place: str, n_in: int, activation: str, **config: Any) -> torch.nn.Linear:
    linear = torch.nn.Linear(n_in, 8)
    shape = {"in_features": n_in, "out_features": 8, "bias": True, "activation_function": activation}
    write(folder / place / "config.json", shape | config)
    weights = {f"linear.{name}": x.detach() for name, x in linear.named_parameters()}
    save_file(weights, folder / place / "model.safetensors")
    return linear


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def spec_of(folder: Path, *outputs: str, **options: Any) -> TextSpec:
    return TextSpec(resolve_model(str(folder)), outputs or ("sentence",), **options)


def encoded(spec: TextSpec) -> NDArray[np.float32]:
    return spec.load("cpu").encode([spec.prepare(caption) for caption in CAPTIONS])["sentence"]


@pytest.mark.parametrize("mode", list(POOL))
@pytest.mark.parametrize("is_legacy", [True, False])
def test_texts_are_pooled_as_the_folder_says(bert: Path, tmp_path: Path, mode: str, is_legacy: bool) -> None:
    flags = {f"pooling_mode_{flag}": name == mode for name, flag in FLAGS.items()}
    folder = add_files(copied(bert, tmp_path / "m"), flags if is_legacy else {"pooling_mode": mode})
    ours = encoded(spec_of(folder))
    for vector, caption in zip(ours, CAPTIONS, strict=True):
        states = reference_states(folder, caption).numpy()
        np.testing.assert_allclose(vector, POOL[mode](states, POSITIONS[: len(states)]), atol=1e-5)


def test_several_poolings_are_joined_and_normalized(bert: Path, tmp_path: Path) -> None:
    folder = add_files(copied(bert, tmp_path / "m"), {"pooling_mode": ["max", "mean"]}, "Normalize")
    spec = spec_of(folder)
    ours = encoded(spec)
    assert spec.widths == {"sentence": 64} and ours.shape == (len(CAPTIONS), 64)
    for vector, caption in zip(ours, CAPTIONS, strict=True):
        states = reference_states(folder, caption).numpy()
        joined = np.concatenate([states.max(0), states.mean(0)])
        np.testing.assert_allclose(vector, joined / np.linalg.norm(joined), atol=1e-5)


def test_dense_layers_follow_the_pooling(bert: Path, tmp_path: Path) -> None:
    folder = add_files(copied(bert, tmp_path / "m"), {"pooling_mode": "mean"}, "Dense", "Normalize", "Dense")
    first = add_dense(folder, "2_Dense", 32, TANH)
    second = add_dense(folder, "4_Dense", 8, "torch.nn.modules.linear.Identity")
    spec = spec_of(folder, "sentence", "mean")
    before = spec.fingerprint.digest
    assert spec.widths == {"sentence": 8, "mean": 32}
    ours = encoded(spec)
    rough = encoded(spec_of(folder, compute_dtype="bfloat16"))
    assert 0 < np.abs(rough - ours).max() < 0.05
    for vector, caption in zip(ours, CAPTIONS, strict=True):
        with torch.no_grad():
            pooled = torch.nn.functional.normalize(torch.tanh(first(reference_states(folder, caption).mean(0))), dim=0)
            np.testing.assert_allclose(vector, second(pooled).numpy(), atol=1e-5)
    add_dense(folder, "4_Dense", 8, "torch.nn.modules.linear.Identity")
    assert spec_of(folder, "sentence", "mean").fingerprint.digest != before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "is_pooled"), [("", True), ("", False), ("{caption}", False), ("red ball {caption} 7", False)]
)
def test_a_prompt_stands_before_the_caption_and_may_be_left_out_of_the_pooling(
    bert: Path, tmp_path: Path, template: str, is_pooled: bool
) -> None:
    pooling = {"pooling_mode": ["cls", "mean", "weightedmean"], "include_prompt": is_pooled}
    folder = add_files(copied(bert, tmp_path / "m"), pooling)
    encoding = {"prompts": {"query": "number ", "passage": "a "}, "default_prompt_name": "query"}
    write(folder / "config_sentence_transformers.json", encoding)
    spec = spec_of(folder, template=template)
    whole = template or "number {caption}"
    assert spec.template == whole and build_spec(spec.fingerprint, spec.outputs) == spec
    assert encoder_options(spec.fingerprint, ("sentence",), ("float32", "float16"))["--text-template"] == whole
    prompt = whole.partition("{caption}")[0].split()
    skip = 0 if is_pooled or not prompt else 1 + len(prompt)
    for vector, caption in zip(encoded(spec), CAPTIONS, strict=True):
        states = reference_states(folder, whole.replace("{caption}", caption)).numpy()
        kept, weights = states[skip:], POSITIONS[skip : len(states)]
        expected = [POOL[mode](kept, weights) for mode in ("cls", "mean", "weightedmean")]
        np.testing.assert_allclose(vector, np.concatenate(expected), atol=1e-5)


def test_the_longest_text_and_lower_case_are_those_of_the_folder(bert: Path, tmp_path: Path) -> None:
    folder = copied(bert, tmp_path / "m")
    add_files(folder, {"pooling_mode": "mean"}, max_seq_length=6, do_lower_case=True)
    spec = spec_of(folder)
    assert spec.max_length == 6 and spec_of(folder, "mean").max_length == 512
    encoder = spec.load("cpu")
    assert encoder.tokenise(["A Red BALL 1 2 3 4"]) == [[0, 6, 7, 8, 10, 2]]
    assert spec_of(folder, "mean").load("cpu").tokenise(["A red"]) == [[0, 3, 7, 2]]
    write(folder / "sentence_bert_config.json", {"max_seq_length": 4096})
    assert spec_of(folder).max_length == 512  # the model has no more positions
    write(folder / "sentence_bert_config.json", {})
    assert spec_of(folder).max_length == 512


def test_only_who_asks_for_it_has_another_identity(bert: Path, tmp_path: Path) -> None:
    folder = add_files(copied(bert, tmp_path / "m"), {"pooling_mode": "mean"}, "Normalize", max_seq_length=6)
    for outputs in (("cls",), ("mean", "layers:all"), ("last",)):
        assert spec_of(folder, *outputs).fingerprint.digest == spec_of(bert, *outputs).fingerprint.digest
    identity = spec_of(folder, "cls", "sentence").fingerprint.identity
    assert identity["sentence"] == {
        "version": 1, "pooling": ["mean"], "prompt": "pooled", "layers": ["normalize"], "lower_case": False
    }  # fmt: skip
    assert identity["max_length"] == 6 and "sentence" not in spec_of(folder, "cls").fingerprint.identity


def test_a_document_makes_its_encoder_again_whichever_of_its_outputs_is_wanted(bert: Path, tmp_path: Path) -> None:
    folder = add_files(copied(bert, tmp_path / "m"), {"pooling_mode": "mean"}, max_seq_length=6)
    write(folder / "config_sentence_transformers.json", {"prompts": {"q": "a "}, "default_prompt_name": "q"})
    spec = spec_of(folder, "sentence", "cls")
    assert build_spec(spec.fingerprint, spec.outputs) == spec
    alone = build_spec(spec.fingerprint, ("cls",))
    assert alone.outputs == ("cls",) and alone.fingerprint.digest == spec.fingerprint.digest
    long = spec.prepare("red ball " * 9)
    vectors = [each.load("cpu").encode([long])["cls"] for each in (spec, alone)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    document = spec.fingerprint.to_document()
    single = encode_caption(document, "red ball " * 9, outputs="sentence", device="cpu")
    np.testing.assert_allclose(single, spec.load("cpu").encode([long])["sentence"][0], rtol=2e-3, atol=1e-3)
    options = encoder_options(spec.fingerprint, ("cls",), ("float32", "float16"))
    assert options == {
        "--text-model": str(folder), "--text-outputs": "cls,sentence", "--text-template": "a {caption}"
    }  # fmt: skip


def test_a_folder_without_these_files_has_no_such_output(bert: Path) -> None:
    with pytest.raises(ModelError, match=r"has no output 'sentence': it has no modules.json; it has: cls, last, mean"):
        spec_of(bert)


def test_a_causal_model_that_is_pooled_by_its_first_token_is_refused(tmp_path: Path) -> None:
    folder = add_files(write_text(tmp_path / "m", "qwen3"), {"pooling_mode": "cls"})
    with pytest.raises(ModelError, match="has no output 'sentence': it is causal"):
        spec_of(folder).check()
    write(folder / "1_Pooling" / "config.json", {"pooling_mode": "lasttoken"})
    expected = [reference_states(folder, caption)[-1].numpy() for caption in CAPTIONS]
    np.testing.assert_allclose(encoded(spec_of(folder)), expected, atol=1e-5)


MODULE = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOLING = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
LSTM = {"type": "sentence_transformers.models.LSTM", "path": "2_LSTM"}
DENSE = {"in_features": 32, "out_features": 8, "activation_function": TANH}
REFUSED = [
    ("modules.json", [MODULE, LSTM], "its modules are Transformer, LSTM, expected Transformer, Pooling and maybe"),
    ("modules.json", [MODULE, POOLING, LSTM], "its modules are Transformer, Pooling, LSTM, expected"),
    ("modules.json", [MODULE | {"path": "0_BERT"}, POOLING], "its transformer lies in '0_BERT', expected beside"),
    ("modules.json", [MODULE, POOLING | {"path": "../1_Pooling"}], "modules.json has .*, expected modules with a type"),
    ("modules.json", [MODULE, POOLING | {"path": ""}], "modules.json has .*, expected the folder of its files"),
    ("modules.json", {"a": 1}, "modules.json has None, expected modules"),
    ("1_Pooling/config.json", {"pooling_mode": "best"}, "it pools by 'best', expected some of cls, max"),
    ("1_Pooling/config.json", {"pooling_mode": []}, r"it pools by \[\], expected some of cls, max"),
    ("sentence_bert_config.json", {"model_args": {"a": 1}}, "its transformer has model_args {'a': 1}"),
    ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "its transformer has transformer_task"),
    ("sentence_bert_config.json", {"modality_config": {"message": {}}}, "its transformer takes texts by None"),
    ("sentence_bert_config.json", {"max_seq_length": "all"}, "max_seq_length is 'all', expected a whole number"),
    ("config_sentence_transformers.json", {"default_prompt_name": "q"}, "has no text of its default prompt 'q'"),
    ("config_sentence_transformers.json", {"default_prompt_name": ["q"]}, "has no text of its default prompt"),
    ("2_Dense/config.json", DENSE | {"activation_function": "odd"}, "its layer '2_Dense' has .*'odd'"),
    ("2_Dense/config.json", DENSE | {"module_input_name": "x"}, "its layer '2_Dense' does not follow the pooling"),
    ("2_Dense/config.json", DENSE | {"out_features": 9}, "has not the weights that its config.json says"),
]


@pytest.mark.parametrize(("file", "content", "message"), REFUSED)
def test_what_cannot_be_done_exactly_is_refused_in_one_line(
    bert: Path, tmp_path: Path, file: str, content: object, message: str
) -> None:
    folder = add_files(copied(bert, tmp_path / "m"), {"pooling_mode": "mean"}, "Dense")
    add_dense(folder, "2_Dense", 32, TANH)
    spec_of(folder).check()
    write(folder / file, content)
    with pytest.raises(ModelError, match=message) as caught:
        spec_of(folder).check()
    assert "\n" not in str(caught.value)
    spec_of(folder, "mean").check()


def test_a_dense_layer_without_safe_weights_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = add_files(copied(bert, tmp_path / "m"), {"pooling_mode": "mean"}, "Dense")
    write(folder / "2_Dense" / "config.json", DENSE)
    with pytest.raises(ModelError, match=r"its layer '2_Dense' has no model\.safetensors; use mean, last or cls"):
        read_recipe(resolve_model(str(folder)))


def test_all_of_a_sentence_transformers_folder_is_fetched(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns: list[str] = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, **options: patterns.extend(options["allow_patterns"]) or bert
    )
    resolve_model("org/name@main")
    files = ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"]
    files += ["2_Dense/config.json", "2_Dense/model.safetensors", "tokenizer.json", "spiece.model"]
    assert list(filter_repo_objects(files, allow_patterns=patterns)) == files


@pytest.mark.skipif(not MINILM.exists(), reason=f"needs real weights in {MATERIAL}")
def test_real_weights_give_what_sentence_transformers_gave(tmp_path: Path) -> None:
    pooling = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
    folder = add_files(copied(MINILM, tmp_path / "m"), pooling, "Normalize", max_seq_length=256, do_lower_case=False)
    captions = [
        "a photo of a cat on a mat",
        "Two people riding bicycles along a sunny street, with trees on both sides.",
    ]
    ours = spec_of(folder).load("cpu").encode(captions)["sentence"]
    # Of sentence-transformers 6.2.0 with transformers 5.23.0, in float32 on a CPU.
    expected = [[0.0552346, 0.0577168, -0.0114831, 0.0121732], [0.0581494, 0.0810644, 0.0184237, 0.1103622]]
    np.testing.assert_allclose(ours[:, :4], expected, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
