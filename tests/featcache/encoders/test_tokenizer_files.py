"""What of a tokenizer is part of an identity: what was from the start, and vocabularies that were not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from featcache.encoders.model_folder import ModelFolder
from featcache.encoders.tokenizer_files import tokenizer_digest
from featcache.errors import ModelError

SETTINGS = {"tokenizer_config.json": {"model_max_length": 32, "name_or_path": "x"}}
BERTWEET = {"tokenizer_config.json": {"tokenizer_class": "BertweetTokenizer"}, "vocab.txt": "a"}
VERSIONS = {"tokenizer_config.json": {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}, "tokenizer.json": "{}"}
STRAY = {"spm.model": "s", "tekken.json": "t", "bpe.codes": "b", "tokenizer.4.0.0.json": "{}"}
PINNED: dict[str, str] = {
    "tokenizer.json": "1ba00067b93c",
    "vocab.txt": "658b7cb39271",
    "vocab.json": "da2e14292528",
    "sentencepiece.bpe.model": "4679bad25eb5",
    "spiece.model": "96363fde4ed5",
}
"""Digests of folders with one vocabulary, as they were when it was first taken."""


def digest(folder: Path, files: dict[str, object]) -> str:
    folder.mkdir(exist_ok=True)
    for name, content in ({"config.json": {}} | files).items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return tokenizer_digest(ModelFolder(folder, "m"))


@pytest.mark.parametrize("name", PINNED)
def test_a_vocabulary_that_counts_leaves_the_others_out(tmp_path: Path, name: str) -> None:
    files = SETTINGS | {name: "{}", "merges.txt": "m"}
    assert digest(tmp_path / "a", files)[:12] == PINNED[name] == digest(tmp_path / "b", files | STRAY)[:12]
    assert digest(tmp_path / "a", {name: "{ }"})[:12] != PINNED[name]


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("spm.model", SETTINGS),
        ("another.model", {}),
        ("byte_maps.json", SETTINGS),
        ("tekken.json", SETTINGS),
        ("tokenizer.4.0.0.json", VERSIONS),
        ("bpe.codes", BERTWEET),
        ("bpe.codes", BERTWEET | {"tokenizer.json": "{}"}),
    ],
)
def test_a_vocabulary_that_alone_is_read_counts(tmp_path: Path, name: str, others: dict[str, object]) -> None:
    found = {digest(tmp_path, others | {name: json.dumps(content)}) for content in "ab"}
    assert len(found) == 2


def test_settings_count_but_for_where_they_were_saved(tmp_path: Path) -> None:
    before = digest(tmp_path, SETTINGS)
    assert digest(tmp_path, {"tokenizer_config.json": {"model_max_length": 32, "name_or_path": "y"}}) == before
    assert digest(tmp_path, {"tokenizer_config.json": {"model_max_length": 31}}) != before


def test_a_model_without_tokenizer_is_no_text_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no tokenizer files"):
        digest(tmp_path, {})
