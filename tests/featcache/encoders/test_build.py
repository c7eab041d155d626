"""A producer's document says what it was made with."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from featcache.encoders.build import build_spec, encoder_options
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.vision import ImageSpec
from featcache.identity.fingerprint import Fingerprint

from factories import FakeSpec, write_vision


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vision(tmp_path_factory.mktemp("models") / "clip", "clip")


def rebuilt(spec: Any) -> Any:
    """The encoder that the stored document of another describes."""
    return build_spec(Fingerprint.from_document(spec.fingerprint.to_document(), "here"), spec.outputs)


@pytest.mark.parametrize(
    ("resize", "square_crop", "decode"), list(product(("pillow", "torch"), (False, True), ("exact", "fast")))
)
def test_a_document_says_how_pictures_are_fed(clip: Path, resize: Any, square_crop: bool, decode: Any) -> None:
    folder = resolve_model(str(clip))
    spec = ImageSpec(folder, ("cls",), "bfloat16", "float32", resize=resize, square_crop=square_crop, decode=decode)
    again = rebuilt(spec)
    assert again == spec and again.fingerprint.digest == spec.fingerprint.digest
    is_standard = (resize, square_crop, decode) == ("pillow", False, "exact")
    standard = ImageSpec(folder, ("cls",), "bfloat16", "float32")
    assert (spec.fingerprint.digest == standard.fingerprint.digest) == is_standard
    assert spec.decode_at_least == (None if decode == "exact" else (64, 64))


def test_the_command_of_a_prepared_picture_says_how_it_was_prepared() -> None:
    identity = FakeSpec("image").fingerprint.identity | {
        "preprocess": {"backend": "torch", "square_crop": True}, "decode": {"scaled": "by 2"}
    }  # fmt: skip
    fingerprint = Fingerprint(identity, {"model": "m", "revision": None, "path": None})
    options = encoder_options(fingerprint, ("pooled",), ("float32", "float16"))
    assert options == {"--image-model": "m", "--resize": "torch", "--square-crop": "", "--decode": "fast"}
    tower = Fingerprint(FakeSpec("text").fingerprint.identity | {"tower": "clip-text"}, fingerprint.source)
    assert "--clip-text" in encoder_options(tower, ("projected",), ("float32", "float16"))
    spectral = FakeSpec("spectral", ("a",)).fingerprint
    assert encoder_options(spectral, ("a",), ("bfloat16", "float16")) == {"--spectral": "", "--spectral-outputs": "a"}
