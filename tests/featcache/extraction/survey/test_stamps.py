from __future__ import annotations

import os
from pathlib import Path

from featcache.dataset.readers.parquet import ParquetImage
from featcache.dataset.readers.tar_samples import TarImage
from featcache.dataset.sample import ImageFile
from featcache.extraction.survey.stamps import place_of, stamp_file

FAR = 1 << 62


def test_a_stamp_is_of_regular_files_that_are_old_enough(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    assert stamp_file(bytes(file), FAR) == stamp_file(bytes(file), FAR) is not None
    assert stamp_file(bytes(file), file.stat().st_mtime_ns) is None
    for name in (bytes(tmp_path), bytes(tmp_path / "fifo"), bytes(tmp_path / "no"), b"nul\0byte", b"\xed\xa0\x80"):
        assert stamp_file(name, FAR) is None


def test_each_picture_of_a_file_has_its_own_stamp(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")
    places = [place_of(i) for i in (ImageFile("f"), TarImage("f", 1, 2, "a"), TarImage("f", 12, 2, "a"))]
    places += [place_of(ParquetImage("f", "image", 0, row, row + 1)) for row in range(2)]
    parts = [place[1] for place in places if place]
    assert len({stamp_file(bytes(file), FAR, part) for part in parts}) == 5
    assert stamp_file(bytes(file), FAR, b"") == stamp_file(bytes(file), FAR)
    assert place_of(None) is None
