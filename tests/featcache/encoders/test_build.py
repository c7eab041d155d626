"""A producer's document says what it was made with."""

from __future__ import annotations

import shutil
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


@pytest.mark.parametrize("chosen", [{"image_size": 48}, {"fit": "pad"}, {"image_size": 64, "fit": "squash"}])
def test_a_document_says_which_size_and_fit_were_chosen(clip: Path, chosen: dict[str, Any]) -> None:
    spec = ImageSpec(resolve_model(str(clip)), ("cls",), **chosen)
    assert rebuilt(spec) == spec and rebuilt(spec).fingerprint.digest == spec.fingerprint.digest
    options = encoder_options(spec.fingerprint, ("cls",), ("float32", "float16"))
    said = {f"--{name.replace('_', '-')}": str(value) for name, value in chosen.items()}
    assert options == {"--image-model": str(clip), "--image-outputs": "cls"} | said
    own = ImageSpec(resolve_model(str(clip)), ("cls",))
    assert spec.fingerprint.digest != own.fingerprint.digest
    same = ImageSpec(resolve_model(str(clip)), ("cls",), image_size=32, fit="crop")
    assert same.fingerprint.digest == own.fingerprint.digest


def test_weights_of_a_variant_are_found_again(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip, tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").rename(tmp_path / "clip" / "model.fp16.safetensors")
    spec = ImageSpec(resolve_model(str(tmp_path / "clip"), variant="fp16"), ("cls",))
    assert rebuilt(spec) == spec
    assert encoder_options(spec.fingerprint, ("cls",), ("float32", "float16"))["--variant"] == "fp16"
    assert spec.fingerprint.digest == ImageSpec(resolve_model(str(clip)), ("cls",)).fingerprint.digest
    spec.check()


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
