"""One picture, one caption: the vector that extraction would have stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import ModelError
from featcache.fingerprint import Fingerprint, check_same

if TYPE_CHECKING:
    from featcache.encoders.base import Device, EncoderSpec

__all__ = ["build_spec", "encode_caption", "encode_image"]


def encode_image(
    document: Mapping[str, Any],
    data: bytes,
    *,
    outputs: Sequence[str],
    model: str | None = None,
    device: Device = "auto",
) -> NDArray[np.float32]:
    """Encode one picture exactly as a cache's producer does.

    Parameters
    ----------
    document : mapping
        The producer's document, from `FeatureStore.document` or a run.
    data : bytes
        The picture file.
    outputs : sequence of str
        Concatenated in this order.
    model : str
        Where the weights are now, if not where the document says: hub id or folder.
    device : {"auto", "cuda", "cpu"}
        Where to compute.

    Returns
    -------
    (d,) float32
        Rounded as on disk.

    Raises
    ------
    FingerprintMismatch
        If the model, or this program's way to feed it, is not the producer's; the fields are named.
    ImageError
        If the picture cannot be used.
    ModelError
        If the weights cannot be found or loaded.
    """
    return _encode(document, data, outputs, model, device)


def encode_caption(
    document: Mapping[str, Any],
    caption: str,
    *,
    outputs: Sequence[str],
    model: str | None = None,
    device: Device = "auto",
) -> NDArray[np.float32]:
    """Encode one caption exactly as a cache's producer does; see `encode_image`."""
    return _encode(document, caption.encode("utf-8"), outputs, model, device)


def _encode(
    document: Mapping[str, Any], content: bytes, outputs: Sequence[str], model: str | None, device: Device
) -> NDArray[np.float32]:
    wanted = Fingerprint.from_document(document, "of the features that are asked for")
    spec = build_spec(wanted, tuple(outputs), model)
    check_same(wanted, spec.fingerprint, f"features of model {model or wanted.model_name!r}")
    vectors = spec.load(device).encode([spec.prepare(content)])
    stored = [vectors[name][0].astype(str(wanted.identity["storage_dtype"])) for name in outputs]
    return np.concatenate(stored).astype(np.float32)


def build_spec(wanted: Fingerprint, outputs: tuple[str, ...], model: str | None = None) -> EncoderSpec:
    """Make the encoder that a document describes, from ``model`` or from where the document says its weights are.

    The caller compares its fingerprint with ``wanted``: what lies there now may be something else.

    Raises
    ------
    ModelError
        If nothing usable lies there.
    """
    from featcache.encoders.text import TextSpec
    from featcache.encoders.vision import ImageSpec
    from featcache.models import resolve_model

    identity = wanted.identity
    try:
        folder = resolve_model(model or _location(wanted))
    except ModelError as error:
        raise ModelError(f"{error} (name its place with --{wanted.modality}-model)") from None
    dtypes = {name: str(identity[name]) for name in ("compute_dtype", "storage_dtype")}
    if wanted.modality == "text":
        return TextSpec(folder, outputs, str(identity["template"]), **dtypes)
    return ImageSpec(folder, outputs, **dtypes)


def _location(wanted: Fingerprint) -> str:
    source = wanted.source
    if source.get("path"):
        return str(source["path"])
    if not source.get("revision"):
        raise ModelError(f"the document of producer {wanted.short} does not say where its weights are")
    return f"{source.get('model')}@{source['revision']}"
