"""Which vectors are meant when several producers, outputs and views lie in one cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featcache.errors import FeatcacheError, FingerprintMismatch
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore

from factories import FakeSpec, make_cache, read_manifest, write_dataset

Fill = Callable[..., FeatureStore]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Extract with these encoders, under these views, into one cache, and open it."""
    manifest = read_manifest(write_dataset(tmp_path / "d", 2))

    def extend(*specs: FakeSpec, views: Sequence[str] = ("clean",)) -> FeatureStore:
        extract(manifest, make_cache(tmp_path / "c"), specs, views=views, options=ExtractOptions(device="cpu"))
        return open_store(tmp_path / "c")

    return extend


def layered(*numbers: int) -> FakeSpec:
    return FakeSpec("image", tuple(f"layers:{k}" for k in numbers), weights="layered")


def test_a_request_for_layers_means_those_that_are_stored_in_natural_order(fill: Fill) -> None:
    store = fill(layered(12, 2, 10))
    assert store.select("image", outputs="layers:all").outputs == ("layers:2", "layers:10", "layers:12")
    assert store.select("image", outputs=["layers:10-2"]).outputs == ("layers:10", "layers:2")
    with pytest.raises(FeatcacheError, match=r"has no output 'layers:4'; it has: layers:2-10-12$"):
        store.select("image", outputs="layers:2-4")


def test_without_a_standard_output_the_only_one_or_the_last_layer_is_meant(fill: Fill) -> None:
    assert fill(layered(9, 10)).select("image").outputs == ("layers:10",)
    both = FakeSpec("image", ("layers:9", "layers_mean:9", "layers_mean:10"), weights="both")
    assert fill(both).select("image", encoder="fake-both").outputs == ("layers:9",)
    means = FakeSpec("image", ("layers_mean:9", "layers_mean:10"), weights="means")
    assert fill(means).select("image", encoder="fake-means").outputs == ("layers_mean:10",)
    assert fill(FakeSpec("text", ("mean",))).select("text").outputs == ("mean",)
    store = fill(FakeSpec("text", ("pooler",)))
    with pytest.raises(FeatcacheError, match=r"has no output 'cls', .*; name some .* --text-outputs .*: mean, pooler$"):
        store.select("text")


def test_all_of_spectral_is_meant_and_read_by_the_key_of_the_picture(fill: Fill) -> None:
    store = fill(FakeSpec("spectral", ("radial", "angular")), FakeSpec("text", ("cls",)))
    assert store.modalities == ("text", "spectral")
    selection = store.select("spectral")
    assert selection.outputs == ("angular", "radial") and selection.content == "image"
    arrays = store.arrays()
    assert arrays.features["spectral"].shape == (6, 8) and arrays.present["spectral"].all()
    assert len(np.unique(arrays.features["spectral"], axis=0)) == 6
    assert set(arrays.keys) == {"text", "image"}


def test_of_several_encoders_the_one_with_the_standard_output_is_meant(fill: Fill) -> None:
    standard = FakeSpec("image", ("pooled", "cls"), weights="a")
    store = fill(standard, FakeSpec("image", ("cls", "mean"), weights="b"), layered(1, 2))
    assert store.select("image").fingerprint == standard.fingerprint.digest
    assert store.select("image", outputs="cls").fingerprint == standard.fingerprint.digest
    assert store.select("image", encoder="fake-b", outputs="cls").outputs == ("cls",)
    with pytest.raises(
        FeatcacheError, match=r"there are 4 image encoders, expected exactly one; it has: .*; --image-encoder"
    ):
        fill(FakeSpec("image", ("pooled",), weights="d")).select("image")


def test_of_several_encoders_the_only_one_with_what_is_asked_for_is_meant(fill: Fill) -> None:
    other = FakeSpec("image", ("cls", "mean"), weights="b")
    store = fill(FakeSpec("image", ("pooled", "cls"), weights="a"), other, layered(1, 2))
    assert store.select("image", outputs="mean,cls").fingerprint == other.fingerprint.digest
    assert store.select("image", outputs="layers:all").fingerprint == layered(1, 2).fingerprint.digest
    with pytest.raises(FeatcacheError, match="has no output 'projected'; it has: cls, pooled"):
        store.select("image", outputs="projected")


def test_the_standard_encoder_is_the_one_that_has_the_view(fill: Fill) -> None:
    fill(FakeSpec("image", ("pooled",), weights="a"))
    perturbed = FakeSpec("image", ("pooled",), weights="b")
    store = fill(perturbed, views=["hflip"])
    assert store.select("image", view="hflip").fingerprint == perturbed.fingerprint.digest
    assert store.select("image").fingerprint != perturbed.fingerprint.digest


def test_views_are_listed_with_the_clean_one_first(fill: Fill) -> None:
    store = fill(FakeSpec("text", ("cls",)), FakeSpec("image"), views=["blur:1", "clean", "hflip"])
    assert store.views("image") == ("clean", "blur:1", "hflip")
    assert store.views("text") == ("clean",)
    assert store.views("image", encoder="nobody") == store.views("spectral") == ()


def test_a_view_perturbs_pictures_and_leaves_captions_as_they_are(fill: Fill) -> None:
    text, image, spectral = FakeSpec("text", ("cls",)), FakeSpec("image"), FakeSpec("spectral", ("radial",))
    fill(text, spectral)
    store = fill(image, views=["clean", "hflip"])
    ids = store.sample_id[::-1].tolist()
    clean, flipped = store.gather(ids), store.gather(ids, view="hflip")
    assert set(clean.features) == {"text", "image", "spectral"} and set(flipped.features) == {"text", "image"}
    np.testing.assert_array_equal(clean.features["text"], flipped.features["text"])
    assert (clean.features["image"] != flipped.features["image"]).any(axis=1).all()
    assert store.default_selections("hflip")["image"] == store.select("image", view="hflip")
    np.testing.assert_array_equal(store.arrays(view="hflip").features["image"], flipped.features["image"][::-1])
    batches = store.batches(batch_size=4, view="hflip")
    read = np.concatenate([batch.features["image"] for batch in batches])
    np.testing.assert_array_equal(read, flipped.features["image"][::-1])
    np.testing.assert_array_equal(store.torch_dataset(view="hflip")[0]["image"], flipped.features["image"][-1])


def test_a_view_that_is_not_stored_is_refused_with_those_that_are(fill: Fill) -> None:
    store = fill(FakeSpec("text", ("cls",)), FakeSpec("image"), views=["clean", "hflip"])
    has, hint = "it has views: 'clean', 'hflip'", r"`featcache extract .* --views jpeg:50 --cache \S+` adds it, "
    with pytest.raises(FeatcacheError, match=rf"has no vectors of view 'jpeg:50'; {has}; {hint}"):
        store.arrays(view="jpeg:50")
    with pytest.raises(FeatcacheError, match=r"view 'jpeg:50', has no vectors yet; it has those of views: 'clean', "):
        store.select("image", view="jpeg:50")
    with pytest.raises(FeatcacheError, match="view 'hflip' and selections are both given"):
        store.arrays(view="hflip", selections=store.default_selections())


def test_what_a_head_was_fitted_on_and_a_cache_lacks_is_told_with_what_it_has(fill: Fill) -> None:
    store = fill(FakeSpec("image"), views=["clean", "hflip"])
    fitted = store.select("image")
    document = store.document(fitted.fingerprint)
    store.check(fitted, document)
    for changes, told in (
        ({"view": "it's"}, r"is not in cache .*those of views: 'clean', 'hflip'; .*--views 'it'\"'\"'s' --cache"),
        ({"outputs": ("layers:7",)}, r"is not in cache .*it has outputs: \S+; .*--image-outputs layers:7 --cache"),
        (
            {"outputs": ("layers:7", "mean", "layers:8", "layers:9"), "widths": (4, 4, 4, 4)},
            r"'layers:7', .* is not in cache .*--image-outputs mean,layers:7\.\.9 --cache",
        ),
        ({"widths": (99,)}, r"has \d+ columns in cache .*, expected 99$"),
    ):
        with pytest.raises(FingerprintMismatch, match=told):
            store.check(replace(fitted, **changes), document)
