"""A cache's pictures become RGB by the rules of the vectors that it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcache.dataset.manifest import Manifest
from featcache.encoders.base import decode_rules
from featcache.encoders.build import build_spec
from featcache.encoders.single import encode_image
from featcache.encoders.spectral.encoder import SpectralSpec
from featcache.errors import FeatcacheError, ModelError, ShardError
from featcache.extraction.decoding import cache_rules
from featcache.extraction.run import extract
from featcache.identity.fingerprint import Fingerprint
from featcache.pictures.decode_rules import DECODE_RULES
from featcache.store.opening import open_store

from factories import FakeSpec, make_cache

OUTPUTS = ("radial", "dct")
GIF = bytes.fromhex(
    "474946383761400030008100000000ffff00000000000000002c08000400040003000008080003081c48506040003b"
)  # 64 × 48, its only frame 4 × 3; the first colour of the palette is blue


def test_a_new_cache_begins_with_the_latest_rules(tmp_path: Path) -> None:
    assert cache_rules(make_cache(tmp_path / "cache")) == DECODE_RULES == 2


@pytest.mark.parametrize("rules", [1, 2])
def test_a_cache_goes_on_by_the_rules_of_its_vectors(rules: int, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    cache.add_producer(SpectralSpec(decode_rules=rules).fingerprint)
    assert cache_rules(cache) == rules


def test_of_several_rules_the_earliest_count_and_encoders_of_captions_have_none(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    cache.add_producer(FakeSpec("text").fingerprint)
    assert cache_rules(cache) == DECODE_RULES
    for rules in (2, 1):
        cache.add_producer(SpectralSpec(decode_rules=rules).fingerprint)
    assert cache_rules(cache) == 1


def test_producers_that_an_extraction_adds_are_found_by_it(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    cache_rules(cache)
    cache.add_producer(SpectralSpec().fingerprint)
    assert list(cache.producers) == [SpectralSpec().fingerprint.digest]


def test_a_damaged_document_is_no_reason_to_begin_anew(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    cache.add_producer(SpectralSpec(decode_rules=1).fingerprint)
    (path,) = (tmp_path / "cache" / "encoders").iterdir()
    path.write_text("{")
    with pytest.raises(ShardError, match=path.name):
        cache_rules(cache)


@pytest.mark.parametrize("rules", [1, 2])
def test_one_picture_is_decoded_as_its_producer_decodes(rules: int, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "small.gif").write_bytes(GIF)
    cache, spec = make_cache(tmp_path / "cache"), SpectralSpec(OUTPUTS, decode_rules=rules)
    extract(Manifest.from_source(tmp_path / "data"), cache, [spec])
    store = open_store(tmp_path / "cache")
    stored = store.arrays(selections={"spectral": store.select("spectral", outputs=OUTPUTS)}).features["spectral"]
    alone = encode_image(spec.fingerprint.to_document(), GIF, outputs=OUTPUTS)
    np.testing.assert_array_equal(stored[0], alone)
    other = encode_image(SpectralSpec(decode_rules=3 - rules).fingerprint.to_document(), GIF, outputs=OUTPUTS)
    assert (other != alone).any()


def test_an_encoder_is_made_again_with_its_rules() -> None:
    for rules in (1, 2):
        wanted = SpectralSpec(decode_rules=rules).fingerprint
        again = build_spec(wanted, OUTPUTS)
        assert again.fingerprint.digest == wanted.digest and decode_rules(again) == rules


@pytest.mark.parametrize("rules", [0, 3, "2", None])
def test_rules_that_there_are_not_are_refused(rules: object) -> None:
    identity = dict(SpectralSpec().fingerprint.identity)
    identity["decode"] = identity["decode"] | {"rules": rules}
    with pytest.raises(ModelError, match="this version knows those to 2"):
        build_spec(Fingerprint(identity, {}), OUTPUTS)


def test_encoders_by_other_rules_do_not_share_a_decoding(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "small.gif").write_bytes(GIF)
    specs = [SpectralSpec(decode_rules=rules) for rules in (1, 2)]
    with pytest.raises(FeatcacheError, match="decoded by the rules 1 and 2"):
        extract(Manifest.from_source(tmp_path / "data"), make_cache(tmp_path / "cache"), specs)
