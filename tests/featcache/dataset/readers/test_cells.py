"""How messages quote cells and paths."""

from __future__ import annotations

from featcache.dataset.readers.cells import quoted_path


def test_a_path_is_quoted_whole_and_what_is_too_long_loses_its_middle() -> None:
    path = "/mnt/" + "photographs of a long story/" * 8 + "picture.png"
    assert quoted_path(path) == repr(path) and len(path) > 200
    long = quoted_path("/a/" + "b" * 5_000 + "/\x1b[31m/picture.png")
    assert long.startswith("'/a/bbb") and long.endswith(r"b/\x1b[31m/picture.png'") and "bbb...bbb" in long
    assert len(long) <= 302
    assert len(quoted_path("\x1b" * 300)) <= 302
