"""Which files of a model's folder decide how text becomes token ids, and the digest of them."""

from __future__ import annotations

from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError
from featcache.files.digests import digest_json, sha256_file

__all__ = ["tokenizer_digest"]

_SETTINGS = "tokenizer_config.json"
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")
_FILES = (*_VOCABULARIES, "merges.txt", "added_tokens.json", "special_tokens_map.json", _SETTINGS)
"""What has always been part of an identity."""
_OTHER_VOCABULARIES = ("*.model", "byte_maps.json", "tekken.json")
"""What is part of it only where none of `_VOCABULARIES` is there, so that one of these has to be what is read."""
_VERSIONS = "fast_tokenizer_files"
"""Field of the settings by which transformers reads a ``tokenizer.4.0.0.json`` instead of ``tokenizer.json``."""
_MERGES = "bpe.codes"
_READERS_OF_MERGES = ("BertweetTokenizer", "PhobertTokenizer")


def tokenizer_digest(folder: ModelFolder) -> str:
    """Return a digest of all files that decide how text becomes token ids.

    Raises
    ------
    ModelError
        If there is none.
    """
    patterns = (*_FILES, *_others(folder))
    names = {file.name for pattern in patterns for file in folder.path.glob(pattern) if file.is_file()}
    if not names:
        raise ModelError(f"model {folder.name!r} has no tokenizer files in {folder.path}")
    return digest_json(
        {name: folder.settings_digest(name) if name == _SETTINGS else sha256_file(folder.path / name) for name in names}
    )


def _others(folder: ModelFolder) -> tuple[str, ...]:
    settings = folder.read_json(_SETTINGS) if (folder.path / _SETTINGS).is_file() else {}
    reader = str(settings.get("tokenizer_class") or folder.config.get("tokenizer_class")).removesuffix("Fast")
    has_vocabulary = any((folder.path / name).is_file() for name in _VOCABULARIES)
    return (
        *(() if has_vocabulary else _OTHER_VOCABULARIES),
        *((_MERGES,) if reader in _READERS_OF_MERGES else ()),
        *(("tokenizer.*.json",) if _VERSIONS in settings else ()),
    )
