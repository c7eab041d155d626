"""What is told to be typed for vectors that are not stored."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from featcache.cache.folder import Cache, Defaults
from featcache.cache.requests import Request, write_requests
from featcache.identity.fingerprint import Fingerprint
from featcache.store.hints import hint_at_extract

IMAGE = Fingerprint({"modality": "image"}, {"model": "vit", "path": "/models/my vit"})
HUB = Fingerprint({"modality": "text"}, {"model": "org/bert", "path": None, "revision": "abc"})
TOWER = Fingerprint({"modality": "text", "tower": "clip-text"}, {"model": "clip", "path": "/clip"})
SPECTRAL = Fingerprint({"modality": "spectral"}, {"model": "spectral"})


def options(cache: Cache, *producers: Fingerprint) -> list[str]:
    (command,) = re.findall("`(.*?)` adds it", hint_at_extract(cache, producers, "--views", "jpeg:50"))
    program, errand, *words = shlex.split(command)
    assert (program, errand, words[-4:]) == (
        "featcache", "extract", ["--views", "jpeg:50", "--cache", str(cache.path)]
    )  # fmt: skip
    return words[:-4]


@pytest.mark.parametrize(
    ("producers", "said"),
    [
        ((IMAGE,), {"--text-model": "none", "--image-model": "/models/my vit"}),
        ((HUB,), {"--text-model": "org/bert@abc", "--image-model": "none"}),
        ((TOWER,), {"--text-model": "none", "--image-model": "/clip", "--clip-text": ""}),
        ((IMAGE, SPECTRAL), {"--text-model": "none", "--image-model": "/models/my vit", "--spectral": ""}),
    ],
)
def test_models_are_named_as_their_producers_do(
    producers: tuple[Fingerprint, ...], said: Mapping[str, str], tmp_path: Path
) -> None:
    words = [word for pair in said.items() for word in pair if word]
    assert options(Cache(tmp_path / "c", Defaults("float32", "float16")), *producers) == ["DATA", *words]


def test_the_only_data_set_is_named_by_what_it_was_read_from(tmp_path: Path) -> None:
    cache = Cache.open_or_create(tmp_path / "my cache", Defaults("float32", "float16"))
    for name in ("photos", "others"):
        (cache.path / "samples").mkdir(exist_ok=True)
        cache.sample_path(name).touch()
        request = Request(name, "/my photos.csv", "0" * 64, ("cls",), ("clean",), None, skips_orphans=False)
        write_requests(cache, [request])
        expected = ["/my photos.csv", "--name", "photos"] if name == "photos" else ["DATA"]
        assert options(cache, IMAGE)[:-4] == expected


def test_a_view_is_asked_for_with_the_outputs_that_are_there(tmp_path: Path) -> None:
    cache = Cache.open_or_create(tmp_path / "c", Defaults("float32", "float16"))
    (cache.path / "samples").mkdir()
    cache.sample_path("photos").touch()
    for outputs, said in ((("pooled",), []), (("cls", "layers:1", "layers:2"), ["--image-outputs", "cls,layers:1-2"])):
        write_requests(cache, [Request("photos", "/p.csv", IMAGE.digest, outputs, ("clean",), None, False)])
        models = ["--text-model", "none", "--image-model", "/models/my vit"]
        assert options(cache, IMAGE) == ["/p.csv", "--name", "photos", *models, *said]
    (command,) = re.findall("`(.*?)` adds it", hint_at_extract(cache, [IMAGE], "--image-outputs", "mean"))
    assert shlex.split(command).count("--image-outputs") == 1
