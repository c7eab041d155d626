"""Where an encoder's files come from: a hub id (optionally ``@revision``) or a local folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from featcache.errors import ModelError
from featcache.files.digests import digest_json, sha256_file
from featcache.files.hub import patience

__all__ = ["DEFAULT_IMAGE_MODEL", "DEFAULT_TEXT_MODEL", "ModelFolder", "resolve_model"]

DEFAULT_TEXT_MODEL = "google-bert/bert-base-uncased"
DEFAULT_IMAGE_MODEL = "openai/clip-vit-base-patch32"
PINNED_REVISIONS = {
    DEFAULT_TEXT_MODEL: "86b5e0934494bd15c9632b12f734a8a67f723594",
    DEFAULT_IMAGE_MODEL: "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
}
_OPEN_CLIP_CONFIG = "open_clip_config.json"
_PREPROCESSOR, _PROCESSOR = "preprocessor_config.json", "processor_config.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_VARIANT = re.compile(r"[A-Za-z0-9][\w-]{0,31}")
_POINTER = b"version https://git-lfs.github.com/spec/"
_SMALL_FILES = ["*.json", "vocab.txt", "merges.txt", "bpe.codes", "*.model"]
_WEIGHTS = (("model", ".safetensors"), ("pytorch_model", ".bin"))
# Fields of config files that say where or with what a model was saved, not what it computes.
_PROVENANCE_FIELDS = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "tokenizer_file",
}


@dataclass(frozen=True)
class ModelFolder:
    """The files of one pretrained model on this machine.

    Attributes
    ----------
    path : Path
        Folder with ``config.json`` and weights.
    name : str
        Hub id, or the folder's name.
    revision : str or None
        Commit that the files really came from; None for a local folder.
    variant : str or None
        Which of several weights are meant, ``"fp16"`` for ``model.fp16.safetensors``; None: those without such a word.
    """

    path: Path
    name: str
    revision: str | None = None
    variant: str | None = None

    def read(self, file: str) -> object:
        """Read one of the model's JSON files; ModelError if it is missing or no JSON."""
        try:
            value: object = json.loads((self.path / file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"model {self.name!r} has no {file} in {self.path}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"model {self.name!r}: {file} cannot be read: {error}") from None
        return value

    def read_json(self, file: str) -> dict[str, Any]:
        """Read one of the model's JSON files; ModelError if it is missing or no object."""
        value = self.read(file)
        if not isinstance(value, dict):
            raise ModelError(f"model {self.name!r}: {file} holds no JSON object")
        return value

    @cached_property
    def config(self) -> dict[str, Any]:
        """The parsed ``config.json``, or where there is none the ``open_clip_config.json``."""
        is_open_clip = (self.path / _OPEN_CLIP_CONFIG).is_file() and not (self.path / "config.json").is_file()
        return self.read_json(_OPEN_CLIP_CONFIG if is_open_clip else "config.json")

    @property
    def model_type(self) -> str:
        """Architecture as transformers names it, e.g. ``"bert"``; ``"open_clip"`` for a folder of that library."""
        if "model_type" not in self.config and "model_cfg" in self.config:
            return "open_clip"
        # What timm writes does not say so; transformers takes it for this, too.
        is_timm = "model_type" not in self.config and "architecture" in self.config
        return "timm_wrapper" if is_timm else str(self.config.get("model_type", ""))

    @property
    def processor_configs(self) -> tuple[dict[str, Any], ...]:
        """What is said of pictures: ``preprocessor_config.json``, ``processor_config.json`` if it nests one, parsed.

        Raises
        ------
        ModelError
            If there is neither, or one cannot be read.
        """
        there = [name for name in (_PREPROCESSOR, _PROCESSOR) if (self.path / name).is_file()]
        found = [self.read_json(name) for name in there or [_PREPROCESSOR]]
        if there[-1:] == [_PROCESSOR] and not isinstance(found[-1].get("image_processor"), dict):
            found.pop()
        if not found:
            raise ModelError(f"model {self.name!r} has no {_PREPROCESSOR}, and its {_PROCESSOR} no image_processor")
        return tuple(found)

    @property
    def uses_safetensors(self) -> bool:
        """Whether the weights are safetensors (otherwise torch's ``.bin``)."""
        return self.weight_files[0].suffix == ".safetensors"

    @cached_property
    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold the weights, safetensors if there are any."""
        self._check_alone()
        word = "" if self.variant is None else f".{self.variant}"
        own = "open_clip_" if self.model_type == "open_clip" else ""
        stems = {f"{own}{stem}{word}{end}": f"{own}{stem}{end}" for stem, end in _WEIGHTS}
        for single, stem in stems.items():
            if (self.path / single).is_file():
                return self._downloaded(self.path / single)
            index = f"{stem}.index{word}.json"
            if (self.path / index).is_file():
                return self._downloaded(*self._listed(index))
        others = (found for stem, end in _WEIGHTS for found in self.path.glob(f"{own}{stem}.*{end}"))
        words = sorted({found.name.split(".")[1] for found in others if _VARIANT.fullmatch(found.name.split(".")[1])})
        hint = f"; it has others: --variant {words[0]}" if words else ""
        raise ModelError(f"model {self.name!r} has no {' and no '.join(stems)} in {self.path}{hint}")

    def _check_alone(self) -> None:
        """Make sure that transformers takes these weights and no others: what it takes besides has no digest here."""
        if (self.path / "adapter_config.json").is_file():
            raise ModelError(
                f"model {self.name!r} has an adapter_config.json in {self.path}: merge the adapter into the weights"
            )
        if other := self.config.get("transformers_weights"):
            raise ModelError(f"model {self.name!r}: config.json names other weights, {other!r}: leave the field out")

    def _listed(self, index: str) -> tuple[Path, ...]:
        names = self.read_json(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ModelError(f"model {self.name!r}: {index} has no weight_map")
        files = tuple(self.path / Path(str(name)).name for name in sorted(set(names.values())))
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise ModelError(f"model {self.name!r}: {index} names {missing[0]!r}, which is not in {self.path}")
        return files

    def _downloaded(self, *files: Path) -> tuple[Path, ...]:
        for file in files:
            with file.open("rb") as opened:
                is_pointer = opened.read(len(_POINTER)) == _POINTER
            if is_pointer:
                raise ModelError(
                    f"model {self.name!r}: {file} is a pointer of git-LFS, its weights were not downloaded: "
                    f"run 'git lfs pull' in {self.path}"
                )
        return files

    @cached_property
    def parameters(self) -> frozenset[str] | None:
        """Names of the tensors in the weights; None for torch's ``.bin``, of which only torch can tell.

        Raises
        ------
        ModelError
            If a file is damaged or cut off.
        """
        if not self.uses_safetensors:
            return None
        from safetensors import SafetensorError, safe_open

        names: set[str] = set()
        for file in self.weight_files:
            try:
                with safe_open(file, framework="numpy") as opened:
                    names.update(opened.keys())
            except (SafetensorError, OSError) as error:
                reason = " ".join(str(error).split())[:200]
                raise ModelError(f"model {self.name!r}: {file} is damaged or cut off: {reason}") from None
        return frozenset(names)

    def may_have(self, part: str) -> bool:
        """Tell whether the weights may hold a part of the model such as ``pooler.``, wherever in the model it is."""
        return self.parameters is None or any(f".{part}" in f".{name}" for name in self.parameters)

    def document(self) -> dict[str, Any]:
        """Return what of the model an embedding depends on: type, digests of weights and configuration."""
        digests = [sha256_file(file) for file in self.weight_files]
        weights = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return {"type": self.model_type, "weights": weights, "config": digest_json(_value_fields(self.config))}

    def settings_digest(self, file: str) -> str:
        """Return a digest of what one of the model's JSON files says, but not of where or with what it was saved."""
        return digest_json(_value_fields(self.read_json(file)))

    def source(self) -> dict[str, Any]:
        """Return where the weights came from, for people and for loading them again."""
        hub = self.revision is not None
        place = {"model": self.name, "revision": self.revision, "path": None if hub else str(self.path)}
        return place if self.variant is None else place | {"variant": self.variant}


def _value_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _value_fields(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _PROVENANCE_FIELDS
    }


def resolve_model(model: str, *, variant: str | None = None) -> ModelFolder:
    """Find the files of ``model``, downloading them from the hub if it is not a local folder.

    Parameters
    ----------
    model : str
        A local folder, or a hub id with an optional ``@revision`` (branch, tag or commit). The default models
        come at a pinned commit unless another is named.
    variant : str
        Which of several weights are meant, ``"fp16"`` for ``model.fp16.safetensors``.

    Raises
    ------
    ModelError
        If it is neither, or cannot be fetched.
    """
    if variant is not None and not _VARIANT.fullmatch(variant):
        raise ModelError(f"variant {variant!r} is no word in a file's name, expected one like fp16")
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        found = ModelFolder(folder.resolve(), folder.resolve().name, variant=variant)
        _ = found.config, found.weight_files
        return found
    name, _, revision = model.partition("@")
    if folder.exists() or not _HUB_ID.fullmatch(name):
        raise ModelError(f"model {model!r} is neither a folder nor a hub id like 'org/name' or 'org/name@revision'")
    path = _download(name, revision or PINNED_REVISIONS.get(name), variant)
    commit = path.name if path.parent.name == "snapshots" else revision
    return ModelFolder(path, name, commit or "main", variant)


def _download(name: str, revision: str | None, variant: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    word = "" if variant is None else f".{variant}"
    bins = f"pytorch_model{word}*.bin"
    try:
        with patience():
            for weights in (f"*{word and word + '*'}.safetensors", bins, f"open_clip_{bins}"):
                path = Path(snapshot_download(name, revision=revision, allow_patterns=[*_SMALL_FILES, weights]))
                if any(path.glob(weights)):
                    break
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        # Where the hub does not answer, that is the cause of an error that speaks of the local cache.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        reason = " ".join(str(cause).split())[:300]
        at = f" at revision {revision!r}" if revision else ""
        raise ModelError(
            f"model {name!r}{at} is no folder here and could not be fetched from the hub: {reason}; "
            "a local folder works without network"
        ) from None
    return path
