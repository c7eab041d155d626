"""One picture, one caption: the vector that extraction would have stored of it, clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import decode_rules, decode_size
from featcache.encoders.build import build_spec
from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint, check_same
from featcache.identity.outputs import parse_outputs

if TYPE_CHECKING:
    from featcache.encoders.base import Device, EncoderSpec

__all__ = ["encode_caption", "encode_image"]


def encode_image(
    document: Mapping[str, Any],
    data: bytes,
    *,
    outputs: str | Sequence[str],
    model: str | None = None,
    device: Device = "auto",
) -> NDArray[np.float32]:
    """Encode one picture exactly as a cache's producer does.

    Parameters
    ----------
    document : mapping
        The producer's document, from `FeatureStore.document` or a run.
    data : bytes
        The bytes of the picture file.
    outputs : str or sequence of str
        Concatenated in this order; also ``layers:4-8-12`` or ``layers:all``.
    model : str
        Where the weights are now, if not where the document says: hub id or folder.
    device : {"auto", "cuda", "cpu"}
        On what to compute; ``auto``: on a GPU if there is one.

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
    from featcache.pictures.decode import decode_rgb

    wanted = Fingerprint.from_document(document, "of the features that are asked for")
    if wanted.content != "image":
        raise ModelError(f"producer {wanted.short} ({wanted.model_name}) encodes captions, expected one of pictures")

    def decode(spec: EncoderSpec) -> Any:
        return decode_rgb(data, at_least=decode_size(spec), rules=decode_rules(spec))

    return _encode(wanted, decode, outputs, model, device)


def encode_caption(
    document: Mapping[str, Any],
    caption: str,
    *,
    outputs: str | Sequence[str],
    model: str | None = None,
    device: Device = "auto",
) -> NDArray[np.float32]:
    """Encode one caption exactly as a cache's producer does; see `encode_image`."""
    wanted = Fingerprint.from_document(document, "of the features that are asked for")
    if wanted.content != "text":
        raise ModelError(f"producer {wanted.short} ({wanted.model_name}) encodes pictures, expected one of captions")
    return _encode(wanted, lambda _: caption, outputs, model, device)


def _encode(
    wanted: Fingerprint,
    open_content: Callable[[EncoderSpec], Any],
    outputs: str | Sequence[str],
    model: str | None,
    device: Device,
) -> NDArray[np.float32]:
    spec = build_spec(wanted, parse_outputs(outputs), model)
    check_same(wanted, spec.fingerprint, f"features of model {model or wanted.model_name!r}")
    prepared = spec.prepare(open_content(spec))
    vectors = spec.load(device).encode([prepared])
    stored = [vectors[name][0].astype(str(wanted.identity["storage_dtype"])) for name in spec.outputs]
    return np.concatenate(stored).astype(np.float32)
