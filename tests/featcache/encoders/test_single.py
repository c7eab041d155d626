"""One content alone, by whatever document its producer left."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from featcache.encoders.model_folder import resolve_model
from featcache.encoders.single import encode_caption, encode_image, load_encoder
from featcache.encoders.spectral.encoder import SpectralSpec
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.errors import FeatcacheError, ModelError
from featcache.pictures.decode import decode_rgb
from featcache.pictures.views import parse_view

from factories import png, write_bert, write_vision


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vision(tmp_path_factory.mktemp("models") / "clip", "clip")


def test_outputs_are_no_part_of_a_producers_identity(clip: Path) -> None:
    folder = resolve_model(str(clip))
    digests = {ImageSpec(folder, (outputs,)).fingerprint.digest for outputs in ("pooled", "layers:all", "mean,cls")}
    assert len(digests) == 1


def test_a_decode_mode_that_there_is_not_is_refused(clip: Path) -> None:
    with pytest.raises(ModelError, match="decode mode 'quick' is unknown, expected exact or fast"):
        ImageSpec(resolve_model(str(clip)), decode="quick")  # type: ignore[arg-type]


def test_a_large_jpeg_alone_is_decoded_as_its_producer_decodes(clip: Path) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (600, 704, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=90)
    exact, fast = (ImageSpec(resolve_model(str(clip)), decode=mode) for mode in ("exact", "fast"))
    vectors = [
        encode_image(spec.fingerprint.to_document(), buffer.getvalue(), outputs="pooled", device="cpu")
        for spec in (exact, fast)
    ]
    picture = decode_rgb(buffer.getvalue(), at_least=fast.decode_at_least)
    assert picture.size == (88, 75)
    expected = fast.load("cpu").encode([fast.prepare(picture)])["pooled"][0].astype(np.float16)
    np.testing.assert_array_equal(vectors[1], expected)
    assert (vectors[0] != vectors[1]).any()


def test_spectral_features_of_one_picture_need_no_weights() -> None:
    spec = SpectralSpec()
    data = png(1, (300, 280))
    alone = encode_image(spec.fingerprint.to_document(), data, outputs=list(spec.outputs))
    batch = spec.load("cpu").encode([spec.prepare(decode_rgb(d)) for d in (png(0, (300, 280)), data)])
    expected = np.concatenate([batch[name][1].astype(np.float16) for name in spec.outputs])
    np.testing.assert_array_equal(alone, expected.astype(np.float32))


def test_a_picture_alone_is_encoded_under_the_view_that_is_named() -> None:
    spec, data = SpectralSpec(("radial",)), png(1, (300, 280))
    alone = load_encoder(spec.fingerprint.to_document(), outputs="radial", view="jpeg:30").encode(data)
    seen = parse_view("jpeg:30").apply(decode_rgb(data), hashlib.sha256(data).digest())
    expected = spec.load("cpu").encode([spec.prepare(seen)])["radial"][0].astype(np.float16)
    np.testing.assert_array_equal(alone, expected.astype(np.float32))


def test_a_caption_is_no_picture_and_a_picture_no_caption(clip: Path, tmp_path: Path) -> None:
    image = ImageSpec(resolve_model(str(clip))).fingerprint.to_document()
    text = TextSpec(resolve_model(str(write_bert(tmp_path / "bert")))).fingerprint.to_document()
    with pytest.raises(ModelError, match="encodes pictures, expected one of captions"):
        encode_caption(image, "a red ball", outputs="pooled")
    with pytest.raises(ModelError, match="encodes captions, expected one of pictures"):
        encode_image(text, png(0), outputs="cls")
    with pytest.raises(FeatcacheError, match=r"has no output 'layers:9'; it has: .*layers:1-2"):
        encode_caption(text, "a red ball", outputs="cls,layers:9", device="cpu")


def test_layers_of_one_caption_are_those_of_its_batch(tmp_path: Path) -> None:
    spec = TextSpec(resolve_model(str(write_bert(tmp_path / "bert"))), ("layers:all", "mean"), template="a {caption}")
    batch = spec.load("cpu").encode([spec.prepare(c) for c in ("red ball", "caption number 3")])
    document = spec.fingerprint.to_document()
    alone = encode_caption(document, "red ball", outputs="mean,layers:2", device="cpu")
    expected = np.concatenate([batch["mean"][0], batch["layers:2"][0]])
    np.testing.assert_allclose(alone, expected, rtol=2e-3, atol=1e-5)
