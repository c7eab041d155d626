from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from featcache.files.digests import canonical_json, digest_bytes, digest_json, sha256_file


def test_a_json_digest_is_the_sha256_of_the_one_text_of_the_value() -> None:
    text = '{"a":[1,2.5,null],"ü":true}'
    assert canonical_json({"ü": True, "a": [1, 2.5, None]}) == text
    assert digest_json({"ü": True, "a": [1, 2.5, None]}) == hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(ValueError, match="JSON"):
        digest_json(float("nan"))


def test_a_digest_of_bytes_is_of_these_bytes_alone(tmp_path: Path) -> None:
    path, data = tmp_path / "file", bytes(range(256)) * 8200  # more than one buffer
    path.write_bytes(data)
    assert digest_bytes(path) == sha256_file(path) == hashlib.sha256(data).hexdigest()
    assert digest_bytes(path, 3, 1_500_000) == hashlib.sha256(data[3:1_500_003]).hexdigest()
