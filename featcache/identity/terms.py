"""The words of the whole: what the same values are called everywhere, on disk too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = [
    "CLEAN",
    "COMPUTE_DTYPES",
    "CONTENTS",
    "CONTENT_OF",
    "DEFAULT_OUTPUTS",
    "KEY_BYTES",
    "MODALITIES",
    "SPLITS",
    "STORAGE_DTYPES",
    "UNKNOWN",
    "Content",
    "Modality",
]

Modality = Literal["text", "image", "spectral"]
"""What vectors are: spectral ones are made of the picture, as those of ``image`` are."""
MODALITIES: tuple[Modality, ...] = ("text", "image", "spectral")
Content = Literal["text", "image"]
"""What a sample consists of, a caption and a picture: of which of them something is."""
CONTENTS: tuple[Content, ...] = ("text", "image")
CONTENT_OF: Mapping[Modality, Content] = {"text": "text", "image": "image", "spectral": "image"}
"""Of which content of a sample the vectors of a modality are made."""
KEY_BYTES = 32
"""Length of the key of a content, a sha256."""
CLEAN = "clean"
"""The view of a content as it is."""
DEFAULT_OUTPUTS = {"text": "cls", "image": "pooled"}
"""The standard output; of a modality without one, all outputs are."""
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
STORAGE_DTYPES = ("float16", "float32")
SPLITS = ("train", "valid", "test")
UNKNOWN = -1
"""The label of a sample of which it is not known."""
