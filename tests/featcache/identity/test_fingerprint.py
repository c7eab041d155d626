"""Laws of fingerprints: the identity alone decides, and what differs is told by name."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError

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


def test_the_digest_is_that_of_the_canonical_json_and_its_first_twelve_digits_name_the_producer() -> None:
    fingerprint = Fingerprint({"modality": "image", "b": [1, None], "a": "é"}, {})
    text = '{"a":"é","b":[1,null],"modality":"image"}'
    assert fingerprint.digest == hashlib.sha256(text.encode()).hexdigest()
    assert len(fingerprint.short) == 12 and fingerprint.digest.startswith(fingerprint.short)


def test_a_model_whose_name_is_not_known_has_a_question_mark() -> None:
    assert (Fingerprint(A, {"model": "org/name"}).model_name, Fingerprint(A, {}).model_name) == ("org/name", "?")
    assert Fingerprint(A, {}).modality == "image"


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


def test_fields_on_one_side_only_are_differences_to_nothing() -> None:
    changes = [str(change) for change in diff_documents({"x": 1, "same": 0}, {"y": {"z": [2]}, "same": 0})]
    assert changes == ["x: 1 → (absent)", "y.z: (absent) → [2]"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("0123456789abcdef" * 4, "0123456789ab"),
        ("0123456789abcdeg" * 4, repr("0123456789abcdeg" * 4)),
        ("0123456789abcdef" * 3, repr("0123456789abcdef" * 3)),
        ("pil", "'pil'"),
        (True, "true"),
    ],
)
def test_a_hash_is_told_by_its_first_digits_and_all_else_whole(value: object, told: str) -> None:
    (change,) = diff_documents({"weights": None}, {"weights": value})
    assert str(change) == f"weights: null → {told}"


def test_check_same_names_the_field_and_both_producers() -> None:
    with pytest.raises(FingerprintMismatch, match=r"expected .*: resize.backend: 'pil' → 'torch'"):
        check_same(Fingerprint(A, {"model": "m"}), Fingerprint(B, {"model": "m"}), "image features")


def test_check_same_is_content_with_the_same_producer_from_elsewhere() -> None:
    check_same(Fingerprint(A, {"model": "m"}), Fingerprint(dict(A), {"model": "copy"}), "image features")


def test_neither_a_fingerprint_nor_a_difference_can_be_changed() -> None:
    for found, name in ((Fingerprint(A, {}), "identity"), (diff_documents(A, B)[0], "field")):
        with pytest.raises(FrozenInstanceError):
            setattr(found, name, None)


def test_document_round_trip_keeps_identity_and_source() -> None:
    fingerprint = Fingerprint(A, {"model": "m", "revision": None})
    assert Fingerprint.from_document(fingerprint.to_document(), "x") == fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": B}, "was changed"),
        ({"identity": None}, "no identity"),
        ({"source": None}, "no identity or no source"),
        ({"identity": {"modality": "sound"}}, "modality 'sound'"),
        ({"fingerprint": 3}, "was changed: it says '3', its identity gives '[0-9a-f]{12}'$"),
        ({"fingerprint": "f" * 64}, "was changed: it says 'ffffffffffff', its"),
    ],
)
def test_a_changed_document_is_refused(change: dict[str, object], message: str) -> None:
    document = Fingerprint(A, {"model": "m"}).to_document() | change
    with pytest.raises(ShardError, match=message):
        Fingerprint.from_document(document, "encoders/x.json")


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_digest_does_not_depend_on_the_order_of_fields(identity: dict[str, object]) -> None:
    backwards = dict(reversed(list(identity.items())))
    assert Fingerprint(identity, {}).digest == Fingerprint(backwards, {}).digest
    assert canonical_json(identity) == canonical_json(backwards)


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=4), st.dictionaries(st.text(min_size=1), JSON, max_size=4))
def test_no_difference_means_the_same_digest(a: dict[str, object], b: dict[str, object]) -> None:
    if Fingerprint(a, {}).digest == Fingerprint(b, {}).digest:
        assert diff_documents(a, b) == ()
