"""CLIP's text tower against transformers' own CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from featcache.encoders.clip_text import ClipTextSpec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.single import encode_caption
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.errors import FeatcacheError, ModelError
from featcache.pictures.decode import decode_rgb

from factories import CLIP_PROCESSOR, png

WORDS = ["!", "a", "red", "blue", "ball", "in", "the", "sea", "<|startoftext|>", "<|endoftext|>"]
START, END = 8, 9
CAPTIONS = ["a red ball", "the sea", "", "a ball in the blue blue sea in the sea", "a " * 30]
VISION = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}


def write_clip(folder: Path, *, end: int = END, pad: str = "<|endoftext|>", **changes: Any) -> Path:
    """Save a tiny random CLIP with tokenizer and preprocessing; ``end`` is what its configuration calls the end."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="!"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{WORDS[START]} $A {WORDS[END]}", special_tokens=[(WORDS[START], START), (WORDS[END], END)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=WORDS[START], eos_token=WORDS[END], pad_token=pad, unk_token="!"
    ).save_pretrained(folder)
    text = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    text |= {"vocab_size": len(WORDS), "max_position_embeddings": 16, "bos_token_id": START, "eos_token_id": end}
    text |= {"pad_token_id": 1} | changes
    config = transformers.CLIPConfig(
        text_config=text, vision_config=VISION | {"intermediate_size": 32}, projection_dim=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP_PROCESSOR))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("models") / "clip")


def encoded(folder: Path, captions: list[str], *, outputs: str = "projected,pooled") -> Any:
    return ClipTextSpec(resolve_model(str(folder)), (outputs,)).load("cpu").encode(captions)


@pytest.mark.parametrize("end", [END, 2])
@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
def test_vectors_equal_those_of_transformers_whatever_the_padding_and_the_age_of_the_checkpoint(
    tmp_path: Path, end: int, pad: str
) -> None:
    folder = write_clip(tmp_path / "clip", end=end, pad=pad)
    ours = encoded(folder, CAPTIONS)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for i, caption in enumerate(CAPTIONS):
        tokens = tokenizer(caption, return_tensors="pt", truncation=True, max_length=16)
        with torch.no_grad():
            pooled = model.text_model(**tokens).pooler_output[0]
            projected = model.get_text_features(**tokens).pooler_output[0]
        np.testing.assert_allclose(ours["pooled"][i], pooled.numpy(), atol=2e-6)
        np.testing.assert_allclose(ours["projected"][i], projected.numpy(), atol=2e-6)
    assert ours["pooled"].shape == (5, 12) and ours["projected"].shape == (5, 8)


def test_the_cosine_of_projected_vectors_is_clips_similarity_of_caption_and_picture(clip: Path) -> None:
    folder = resolve_model(str(clip))
    image = ImageSpec(folder, ("projected",))
    pixels = np.stack([image.prepare(decode_rgb(png(i, (40, 33)))) for i in range(4)])
    vision = image.load("cpu")
    a, b = vision.encode(pixels)["projected"], encoded(clip, CAPTIONS[:3])["projected"]
    ours = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(clip)(CAPTIONS[:3], padding=True, return_tensors="pt")
    p = image.preprocessor
    levels = (pixels * p.rescale - np.array(p.mean)) / np.array(p.std)
    with torch.no_grad():
        out = model(**tokens, pixel_values=torch.tensor(levels.transpose(0, 3, 1, 2), dtype=torch.float32))
    np.testing.assert_allclose(ours, (out.logits_per_image / model.logit_scale.exp()).detach().numpy(), atol=2e-6)
    assert ours.std() > 1e-3


def test_a_model_that_would_pool_where_no_text_ends_is_refused(tmp_path: Path) -> None:
    folder = resolve_model(str(write_clip(tmp_path / "clip", end=5)))
    with pytest.raises(ModelError, match="pools at token 5, its tokenizer ends texts with 9"):
        ClipTextSpec(folder).load("cpu")


def test_a_text_tower_alone_serves_too_but_projects_only_with_its_weights(clip: Path, tmp_path: Path) -> None:
    whole = encoded(clip, CAPTIONS)
    for name, outputs in (("CLIPTextModelWithProjection", "projected,pooled"), ("CLIPTextModel", "pooled")):
        folder = tmp_path / name
        kind = getattr(transformers, name)
        config = kind.config_class.from_pretrained(clip)
        config.projection_dim = 8
        kind.from_pretrained(clip, config=config).save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).write_bytes((clip / file).read_bytes())
        alone = encoded(folder, CAPTIONS, outputs=outputs)
        for output, vectors in alone.items():
            np.testing.assert_array_equal(vectors, whole[output])
    with pytest.raises(ModelError, match="no weights of a projection; it has: pooled"):
        encoded(folder, CAPTIONS)


def test_the_tower_its_tokenizer_and_its_template_are_part_of_the_identity(clip: Path, tmp_path: Path) -> None:
    spec = ClipTextSpec(resolve_model(str(clip)))
    assert spec.fingerprint.identity["tower"] == "clip-text"
    prefixed = ClipTextSpec(resolve_model(str(clip)), template="a {caption}")
    padded = ClipTextSpec(resolve_model(str(write_clip(tmp_path / "clip", pad="!"))))
    assert len({s.fingerprint.digest for s in (spec, prefixed, padded)}) == 3
    assert prefixed.prepare("ball") == "a ball"
    assert spec.widths == {"projected": 8} and spec.max_length == 16


def test_models_and_outputs_that_it_cannot_serve_are_refused(clip: Path, tmp_path: Path) -> None:
    from factories import write_bert

    bert = resolve_model(str(write_bert(tmp_path / "bert")))
    with pytest.raises(ModelError, match="has type 'bert', expected a CLIP with a text tower"):
        ClipTextSpec(bert)
    with pytest.raises(FeatcacheError, match="text tower of model 'clip' has no output 'cls'; it has: pooled, proj"):
        ClipTextSpec(resolve_model(str(clip)), ("cls",))
    with pytest.raises(ModelError, match="does not contain"):
        ClipTextSpec(resolve_model(str(clip)), template="x")
    with pytest.raises(ModelError, match="the text tower of a CLIP is taken by --image-model, --clip-text"):
        TextSpec(resolve_model(str(clip)))


def test_one_caption_alone_equals_the_row_of_its_batch(clip: Path) -> None:
    document = ClipTextSpec(resolve_model(str(clip))).fingerprint.to_document()
    alone = encode_caption(document, CAPTIONS[0], outputs=["projected", "pooled"], device="cpu")
    batch = encoded(clip, CAPTIONS)
    expected = np.concatenate([batch["projected"][0], batch["pooled"][0]])
    np.testing.assert_allclose(alone, expected, rtol=2e-3, atol=1e-5)


def test_token_ids_give_the_vectors_of_their_captions(clip: Path) -> None:
    encoder = ClipTextSpec(resolve_model(str(clip))).load("cpu")
    ids = encoder.tokenise(CAPTIONS)
    assert [len(one) for one in ids] == [5, 4, 2, 12, 16] and all(one[-1] == END for one in ids)
    np.testing.assert_array_equal(encoder.encode(ids)["projected"], encoder.encode(CAPTIONS)["projected"])
