"""What a producer's document says, read two ways: the encoder that it describes, and the options that make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.outputs import abbreviate
from featcache.identity.terms import DEFAULT_OUTPUTS, Modality

if TYPE_CHECKING:
    from featcache.encoders.base import EncoderSpec

__all__ = ["DTYPE_OPTIONS", "build_spec", "encoder_options", "outputs_option"]

DTYPE_OPTIONS = ("--dtype", "--storage-dtype")
"""Options that name the dtypes of the forward, and of the vectors on disk."""


def build_spec(wanted: Fingerprint, outputs: tuple[str, ...], model: str | None = None) -> EncoderSpec:
    """Make the encoder that a document describes, from ``model`` or from where the document says its weights are.

    The caller compares its fingerprint with ``wanted``: what lies there now may be something else.

    Raises
    ------
    ModelError
        If nothing usable lies there.
    """
    identity = wanted.identity
    if wanted.modality == "spectral":
        from featcache.encoders.spectral.encoder import SpectralSpec

        return SpectralSpec(outputs, str(identity["storage_dtype"]), _decode_rules(identity))
    from featcache.encoders.model_folder import resolve_model

    try:
        folder = resolve_model(model or _location(wanted), variant=wanted.source.get("variant"))
    except ModelError as error:
        raise ModelError(f"{error} (name its place with --{wanted.modality}-model)") from None
    dtypes: dict[str, Any] = {name: str(identity[name]) for name in ("compute_dtype", "storage_dtype")}
    if wanted.modality == "image":
        from featcache.encoders.vision import ImageSpec

        return ImageSpec(folder, outputs, **dtypes, **_feeding(identity))
    if "tower" in identity:
        from featcache.encoders.clip_text import ClipTextSpec

        return ClipTextSpec(folder, outputs, str(identity["template"]), **dtypes)
    from featcache.encoders.text import TextSpec

    return TextSpec(folder, outputs, str(identity["template"]), **dtypes, as_sentences="sentence" in identity)


def encoder_options(fingerprint: Fingerprint, outputs: Sequence[str], defaults: tuple[str, str]) -> dict[str, str]:
    """Return the options of ``featcache extract`` that make a producer again.

    Parameters
    ----------
    fingerprint : Fingerprint
        The producer that is to be made again.
    outputs : sequence of str
        The outputs that it has stored.
    defaults : (str, str)
        The cache's compute dtype and storage dtype, which need not be said.
    """
    source, identity, modality = fingerprint.source, fingerprint.identity, fingerprint.modality
    model = str(source["path"]) if source.get("path") else fingerprint.model_name
    if source.get("revision") and not source.get("path"):
        model += f"@{source['revision']}"
    options = _which(modality, model, identity)
    options |= {"--variant": str(source["variant"])} if source.get("variant") else {}
    # An identity has this field only where this output is wanted, so the command has to name it.
    own = ["sentence"] if "sentence" in identity else []
    options |= outputs_option(modality, tuple(dict.fromkeys([*outputs, *own])))
    # Where nothing is said, a prompt of the model's own stands before captions that are fed as it says.
    if own or str(identity.get("template", "{caption}")) != "{caption}":
        options["--text-template"] = str(identity["template"])
    options |= _picture_options(identity)
    for option, field, default in zip(DTYPE_OPTIONS, ("compute_dtype", "storage_dtype"), defaults, strict=True):
        # Spectral features are computed in float32 whatever is asked for.
        if str(identity[field]) != default and (modality, option) != ("spectral", "--dtype"):
            options[option] = str(identity[field])
    return options


def outputs_option(modality: Modality, outputs: Sequence[str]) -> dict[str, str]:
    """Return the option that names outputs of a modality; none where they are what it has by itself."""
    if modality == "spectral":
        from featcache.encoders.spectral.encoder import SPECTRAL_OUTPUTS

        is_usual = set(outputs) == set(SPECTRAL_OUTPUTS)
    else:
        is_usual = tuple(outputs) == (DEFAULT_OUTPUTS[modality],)
    return {} if is_usual or not outputs else {f"--{modality}-outputs": abbreviate(outputs).replace(" ", "")}


def _which(modality: Modality, model: str, identity: Mapping[str, Any]) -> dict[str, str]:
    if modality == "spectral":
        return {"--spectral": ""}
    if identity.get("tower") == "clip-text":
        return {"--image-model": model, "--clip-text": ""}
    return {f"--{modality}-model": model}


def _picture_options(identity: Mapping[str, Any]) -> dict[str, str]:
    how = _feeding(identity)
    options = {"--resize": "torch"} if how["resize"] == "torch" else {}
    options |= {"--square-crop": ""} if how["square_crop"] else {}
    options |= {"--image-size": str(how["image_size"])} if how["image_size"] is not None else {}
    options |= {"--fit": str(how["fit"])} if how["fit"] is not None else {}
    return options | ({"--decode": "fast"} if how["decode"] == "fast" else {})


def _feeding(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read from a document how pictures are decoded and resized; what is not the default is written there only."""
    preprocess, decode = identity.get("preprocess"), identity.get("decode")
    preprocess = preprocess if isinstance(preprocess, Mapping) else {}
    is_fast = isinstance(decode, Mapping) and "scaled" in decode
    return {
        "resize": str(preprocess.get("backend", "pillow")),
        "square_crop": preprocess.get("square_crop") is True,
        "decode": "fast" if is_fast else "exact",
        "image_size": preprocess.get("image_size"),
        "fit": preprocess.get("fit"),
        "decode_rules": _decode_rules(identity),
    }


def _decode_rules(identity: Mapping[str, Any]) -> int:
    """Return the rules that a document names; 0, which no rules are, where it names none."""
    document = identity.get("decode")
    rules = document.get("rules") if isinstance(document, Mapping) else None
    return rules if isinstance(rules, int) else 0


def _location(wanted: Fingerprint) -> str:
    source = wanted.source
    if source.get("path"):
        return str(source["path"])
    if not source.get("revision"):
        raise ModelError(f"the document of producer {wanted.short} does not say where its weights are")
    return f"{source.get('model')}@{source['revision']}"
