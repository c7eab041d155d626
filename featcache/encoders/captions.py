"""What all encoders of captions have in common: the template, the tokenizer's part in the identity, the loading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from featcache.encoders.base import Device
from featcache.encoders.loading import resolve_device
from featcache.encoders.model_folder import ModelFolder
from featcache.encoders.text_encoder import TextEncoder, TextTower
from featcache.encoders.tokenizer_files import tokenizer_digest
from featcache.encoders.tokens import Tokeniser
from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint

__all__ = ["CaptionSpec"]


@dataclass(frozen=True)
class CaptionSpec(ABC):
    """Which encoder of captions, and how it is fed.

    Attributes
    ----------
    folder : ModelFolder
        Where the model's files lie.
    outputs : tuple of str
        Names of the vectors that it makes.
    template : str
        What is encoded; ``{caption}`` stands for the caption. Where nothing is said, it is what the encoder has by
        itself: the caption alone, unless the model's files name a prompt that stands before it.
    compute_dtype, storage_dtype : str
        Dtypes of the forward, and of the vectors on disk.
    """

    folder: ModelFolder
    outputs: tuple[str, ...] = ()
    template: str = ""
    compute_dtype: str = "float32"
    storage_dtype: str = "float16"
    modality: Literal["text"] = field(default="text", init=False)

    def __post_init__(self) -> None:
        if not self.template:
            object.__setattr__(self, "template", f"{self.default_prompt}{{caption}}")
        if "{caption}" not in self.template:
            raise ModelError(f"text template {self.template!r} does not contain {{caption}}")

    @property
    @abstractmethod
    def widths(self) -> Mapping[str, int]:
        """Columns of the outputs; empty if the configuration does not say."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""

    @property
    def default_prompt(self) -> str:
        """What stands before a caption where no template is given."""
        return ""

    @property
    def lower_case(self) -> bool:
        """Whether texts are put in lower case before the tokenizer does what it does."""
        return False

    @property
    def _own_fields(self) -> Mapping[str, Any]:
        """Fields of the identity that not all encoders of captions have."""
        return {}

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the producer."""
        identity = {
            "format": 1,
            "modality": "text",
            "model": self.folder.document(),
            **self._own_fields,
            "tokenizer": tokenizer_digest(self.folder),
            "template": self.template,
            "max_length": self.max_length,
            "truncation": "right",
            "compute_dtype": self.compute_dtype,
            "storage_dtype": self.storage_dtype,
        }
        return Fingerprint(identity, self.folder.source())

    def prepare(self, source: str) -> str:
        """Put a caption into the template."""
        return self.template.replace("{caption}", source)

    def check(self) -> None:
        """Raise `ModelError` if it cannot be loaded, or lacks an output; holds the weights for a moment."""
        self.load("cpu")

    def load(self, device: Device, *, compile: bool = False) -> TextEncoder:
        """Read weights and tokenizer; ``compile`` hands the forward to ``torch.compile``, which pays on a GPU."""
        place = resolve_device(device)
        tokeniser = Tokeniser(self.folder, self.max_length, lower_case=self.lower_case)
        return TextEncoder(
            self._load(place, tokeniser),
            tokeniser,
            widths=self.widths,
            device=place,
            compute_dtype=self.compute_dtype,
            compile=compile,
        )

    @abstractmethod
    def _load(self, device: str, tokeniser: Tokeniser) -> TextTower:
        """Return the model with its weights on a device."""
