"""What to type where vectors are not stored: the ``featcache extract`` that adds them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress

from featcache.cache.folder import Cache
from featcache.cache.requests import read_requests
from featcache.errors import ShardError
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.outputs import abbreviate, natural_order
from featcache.identity.terms import DEFAULT_OUTPUTS, Modality

__all__ = ["hint_at_extract"]


def hint_at_extract(cache: Cache, producers: Iterable[Fingerprint], option: str, value: str) -> str:
    """Say how to add what producers lack; of each modality one counts, and the others are not run.

    The data are named where the cache has one data set, models as the documents of the producers do, and for a view the
    outputs that data sets were encoded with. What else an encoder was made with
    (`featcache.encoders.build.encoder_options`) is left to ``featcache status``.

    Parameters
    ----------
    cache : Cache
        The cache that lacks it.
    producers : iterable of Fingerprint
        Which of its producers lack it.
    option, value : str
        What is to be added: ``--views hflip``.
    """
    models: dict[Modality, Fingerprint] = {}
    for producer in producers:
        models.setdefault(producer.modality, producer)
    words = ["featcache", "extract", *_data(cache)]
    options: dict[str, str] = {f"--{modality}-model": "none" for modality in ("text", "image")}
    for producer in models.values():
        options |= _model_options(producer)
        options |= {} if option.endswith("-outputs") else _outputs_option(cache, producer)
    words += [word for pair in options.items() for word in pair if word]
    command = shlex.join([*words, option, value, "--cache", str(cache.path)])
    return f"`{command}` adds it, with what else `featcache status` says of the encoder"


def _data(cache: Cache) -> tuple[str, ...]:
    """Name the only data set of a cache, by what it was read from."""
    if len(cache.datasets) == 1:
        (name,) = cache.datasets
        try:
            origins = {request.origin for request in read_requests(cache, name)}
        except ShardError:
            origins = set()
        if len(origins) == 1:
            return origins.pop(), "--name", name
    return ("DATA",)


def _outputs_option(cache: Cache, producer: Fingerprint) -> dict[str, str]:
    """Name the outputs that were asked for of a producer, unless they are those that it has by itself."""
    asked: set[str] = set()
    for name in cache.datasets:
        with suppress(ShardError):
            requests = read_requests(cache, name)
            asked.update(*(request.outputs for request in requests if request.fingerprint == producer.digest))
    default = DEFAULT_OUTPUTS.get(producer.modality)
    if default is None or asked <= {default}:
        return {}
    return {f"--{producer.modality}-outputs": abbreviate(natural_order(asked)).replace(" ", "")}


def _model_options(producer: Fingerprint) -> dict[str, str]:
    source = producer.source
    revision = f"@{source['revision']}" if source.get("revision") else ""
    model = str(source["path"]) if source.get("path") else f"{producer.model_name}{revision}"
    if producer.modality == "spectral":
        return {"--spectral": ""}
    if producer.identity.get("tower") == "clip-text":
        return {"--image-model": model, "--clip-text": ""}
    return {f"--{producer.modality}-model": model}
