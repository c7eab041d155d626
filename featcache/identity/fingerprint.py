"""Identity of a producer: all that an embedding depends on, as canonical JSON and one digest of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from featcache.errors import FingerprintMismatch, ShardError
from featcache.files.digests import canonical_json, digest_json
from featcache.identity.terms import CONTENT_OF, MODALITIES, Content, Modality

__all__ = ["FieldChange", "Fingerprint", "check_same", "diff_documents"]

SHORT = 12
_ABSENT = "(absent)"


@dataclass(frozen=True)
class Fingerprint:
    """A producer's document and the digest that names it.

    Attributes
    ----------
    identity : mapping
        Everything that the value of an embedding depends on (weights, tokenizer or preprocessing, dtypes).
    source : mapping
        Where the weights came from (model id, revision, folder): kept for people and for loading the encoder
        again, not part of the digest. The same bytes under another name are the same producer.
    """

    identity: Mapping[str, Any]
    source: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Sha256 of the canonical identity, 64 hex digits."""
        return digest_json(self.identity)

    @property
    def short(self) -> str:
        """First twelve digits of the digest: the name of the folder of features."""
        return self.digest[:SHORT]

    @property
    def modality(self) -> Modality:
        """What its vectors are."""
        modality: Modality = self.identity["modality"]
        return modality

    @property
    def content(self) -> Content:
        """Of which content of a sample its vectors are made."""
        return CONTENT_OF[self.modality]

    @property
    def model_name(self) -> str:
        """Name of the model as its user gave it."""
        return str(self.source.get("model", "?"))

    def to_document(self) -> dict[str, Any]:
        """Return the readable document that is stored as ``encoders/<fp12>.json``."""
        return {"fingerprint": self.digest, "identity": dict(self.identity), "source": dict(self.source)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Fingerprint:
        """Parse a stored document and check it against its own digest.

        Raises
        ------
        ShardError
            If fields are missing or the digest is not that of the identity.
        """
        identity, source = document.get("identity"), document.get("source")
        if not isinstance(identity, dict) or not isinstance(source, dict):
            raise ShardError(f"encoder document {where} has no identity or no source")
        if identity.get("modality") not in MODALITIES:
            raise ShardError(f"encoder document {where} names modality {identity.get('modality')!r}")
        fingerprint = cls(identity, source)
        if document.get("fingerprint") != fingerprint.digest:
            raise ShardError(
                f"encoder document {where} was changed: it says {str(document.get('fingerprint'))[:SHORT]!r}, "
                f"its identity gives {fingerprint.short!r}"
            )
        return fingerprint


@dataclass(frozen=True)
class FieldChange:
    """One field in which two producers differ."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {_brief(self.before)} → {_brief(self.after)}"


def _brief(value: Any) -> str:
    if isinstance(value, str):
        is_hash = len(value) == 64 and all(c in "0123456789abcdef" for c in value)
        return value[:SHORT] if is_hash else (value if value == _ABSENT else repr(value))
    return canonical_json(value)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _leaves(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def diff_documents(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Return the fields in which two identities differ, by dotted name, in alphabetical order."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    changes = []
    for field in sorted(old.keys() | new.keys()):
        a, b = old.get(field, _ABSENT), new.get(field, _ABSENT)
        if a != b:
            changes.append(FieldChange(field, a, b))
    return tuple(changes)


def check_same(wanted: Fingerprint, found: Fingerprint, subject: str, remedy: str = "") -> None:
    """Raise `FingerprintMismatch` that names the differing fields, and a remedy, unless both are one producer."""
    if wanted.digest != found.digest:
        changes = "; ".join(str(c) for c in diff_documents(wanted.identity, found.identity))
        raise FingerprintMismatch(
            f"{subject} come from producer {found.short} ({found.model_name}), "
            f"expected {wanted.short} ({wanted.model_name}): {changes}" + (f"; {remedy}" if remedy else "")
        )
