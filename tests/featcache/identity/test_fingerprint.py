from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.errors import FingerprintMismatch, ShardError
from featcache.files.digests import canonical_json
from featcache.identity.fingerprint import Fingerprint, check_same, diff_documents

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
A = {"modality": "image", "resize": {"size": 224, "backend": "pil"}, "weights": "a" * 64}
B = {"modality": "image", "resize": {"size": 224, "backend": "torch"}, "weights": "a" * 64}


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_digest_does_not_depend_on_the_order_of_fields(identity: dict[str, object]) -> None:
    backwards = dict(reversed(list(identity.items())))
    assert Fingerprint(identity, {}).digest == Fingerprint(backwards, {}).digest
    assert canonical_json(identity) == canonical_json(backwards)


def test_where_the_weights_lie_is_no_part_of_the_identity() -> None:
    here = Fingerprint(A, {"model": "org/name", "revision": "abc"})
    there = Fingerprint(A, {"model": "copy", "path": "/elsewhere"})
    assert here.digest == there.digest


@pytest.mark.parametrize(("modality", "content"), [("text", "text"), ("image", "image"), ("spectral", "image")])
def test_spectral_vectors_are_made_of_the_picture(modality: str, content: str) -> None:
    fingerprint = Fingerprint({"modality": modality}, {})
    assert (fingerprint.modality, fingerprint.content) == (modality, content)


def test_a_difference_is_told_by_its_dotted_name() -> None:
    (change,) = diff_documents(A, B)
    assert str(change) == "resize.backend: 'pil' → 'torch'"


def test_fields_on_one_side_only_are_differences() -> None:
    fields = [c.field for c in diff_documents({"x": 1}, {"y": {"z": 2}})]
    assert fields == ["x", "y.z"]


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=4), st.dictionaries(st.text(min_size=1), JSON, max_size=4))
def test_no_difference_means_the_same_digest(a: dict[str, object], b: dict[str, object]) -> None:
    if Fingerprint(a, {}).digest == Fingerprint(b, {}).digest:
        assert diff_documents(a, b) == ()


def test_check_same_names_the_field_and_both_producers() -> None:
    with pytest.raises(FingerprintMismatch, match=r"expected .*: resize.backend: 'pil' → 'torch'"):
        check_same(Fingerprint(A, {"model": "m"}), Fingerprint(B, {"model": "m"}), "image features")


def test_document_round_trip_keeps_identity_and_source() -> None:
    fingerprint = Fingerprint(A, {"model": "m", "revision": None})
    assert Fingerprint.from_document(fingerprint.to_document(), "x") == fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": B}, "was changed"),
        ({"identity": None}, "no identity"),
        ({"identity": {"modality": "sound"}}, "modality 'sound'"),
        ({"fingerprint": 3}, "was changed"),
    ],
)
def test_a_changed_document_is_refused(change: dict[str, object], message: str) -> None:
    document = Fingerprint(A, {"model": "m"}).to_document() | change
    with pytest.raises(ShardError, match=message):
        Fingerprint.from_document(document, "encoders/x.json")
