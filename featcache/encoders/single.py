"""Contents one by one: the vectors that extraction would have stored of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import decode_rules, decode_size
from featcache.encoders.build import build_spec
from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint, check_same
from featcache.identity.outputs import parse_outputs
from featcache.identity.terms import CLEAN
from featcache.pictures.views import parse_view

if TYPE_CHECKING:
    from featcache.encoders.base import Device, Encoder, EncoderSpec

__all__ = ["ContentEncoder", "encode_caption", "encode_image", "load_encoder"]


class ContentEncoder:
    """Encodes one content after the other exactly as a cache's producer does; its weights are read once.

    Parameters
    ----------
    wanted : Fingerprint
        The producer.
    spec : EncoderSpec
        An encoder of this very fingerprint.
    view : str
        Perturbation under which pictures are encoded.
    device : {"auto", "cuda", "cpu"}
        Where to compute.
    """

    def __init__(self, wanted: Fingerprint, spec: EncoderSpec, view: str, device: Device) -> None:
        self._wanted = wanted
        self._spec = spec
        self._view = parse_view(view)
        self._device = device

    @cached_property
    def _encoder(self) -> Encoder:
        return self._spec.load(self._device)

    def encode(self, content: bytes | str) -> NDArray[np.float32]:
        """Return the vector of a picture file (bytes) or of a caption: (d,), rounded as on disk.

        Raises
        ------
        ImageError
            If the picture cannot be used.
        ModelError
            If the encoder is one of the other kind of contents, or its weights cannot be loaded.
        """
        prepared = self._spec.prepare(self._opened(content))
        vectors = self._encoder.encode([prepared])
        dtype = str(self._wanted.identity["storage_dtype"])
        stored = [vectors[name][0].astype(dtype) for name in self._spec.outputs]
        return np.concatenate(stored).astype(np.float32)

    def _opened(self, content: bytes | str) -> Any:
        wants = self._wanted.content
        if wants != ("image" if isinstance(content, bytes) else "text"):
            encodes, expected = ("captions", "pictures") if wants == "text" else ("pictures", "captions")
            raise ModelError(
                f"producer {self._wanted.short} ({self._wanted.model_name}) encodes {encodes}, expected one of "
                f"{expected}"
            )
        if isinstance(content, str):
            return content
        from featcache.pictures.decode import decode_rgb

        picture = decode_rgb(content, at_least=decode_size(self._spec), rules=decode_rules(self._spec))
        return self._view.apply(picture, hashlib.sha256(content).digest())


def load_encoder(
    document: Mapping[str, Any],
    *,
    outputs: str | Sequence[str],
    view: str = CLEAN,
    model: str | None = None,
    device: Device = "auto",
) -> ContentEncoder:
    """Return the encoder that a producer's document describes; weights are read when the first content is encoded.

    Parameters
    ----------
    document : mapping
        The producer's document, from `FeatureStore.document` or a run.
    outputs : str or sequence of str
        Concatenated in this order; also ``layers:4-8-12`` or ``layers:all``.
    view : str
        Perturbation under which pictures are encoded; ``clean``: as they are.
    model : str
        Where the weights are now, if not where the document says: hub id or folder.
    device : {"auto", "cuda", "cpu"}
        Where to compute.

    Raises
    ------
    FingerprintMismatch
        If the model, or this program's way to feed it, is not the producer's; the fields are named.
    ModelError
        If the weights cannot be found.
    FeatcacheError
        If the view is none.
    """
    wanted = Fingerprint.from_document(document, "of the features that are asked for")
    spec = build_spec(wanted, parse_outputs(outputs), model)
    check_same(wanted, spec.fingerprint, f"features of model {model or wanted.model_name!r}", "name the expected model")
    return ContentEncoder(wanted, spec, view, device)


def encode_image(
    document: Mapping[str, Any],
    data: bytes,
    *,
    outputs: str | Sequence[str],
    model: str | None = None,
    device: Device = "auto",
) -> NDArray[np.float32]:
    """Encode one picture, the bytes of its file: (d,); see `load_encoder` and `ContentEncoder.encode`."""
    return load_encoder(document, outputs=outputs, model=model, device=device).encode(data)


def encode_caption(
    document: Mapping[str, Any],
    caption: str,
    *,
    outputs: str | Sequence[str],
    model: str | None = None,
    device: Device = "auto",
) -> NDArray[np.float32]:
    """Encode one caption: (d,); see `load_encoder` and `ContentEncoder.encode`."""
    return load_encoder(document, outputs=outputs, model=model, device=device).encode(caption)
