"""The data of the extraction benchmark: few pictures are drawn, and all files are different ones of these."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.extraction_data import write_data


def test_files_of_further_scenes_have_other_bytes_and_the_same_pictures(tmp_path: Path) -> None:
    manifest = write_data(tmp_path, 5, n_drawn=2, shrink=16)
    names = [line.split(",")[1] for line in manifest.read_text(encoding="utf-8").splitlines()[1:]]
    files = {name: (tmp_path / name).read_bytes() for name in names}
    assert len(files) == 30 and len({sha256(data).digest() for data in files.values()}) == 30
    for name in names:
        drawn = f"{int(name[:5]) % 2:05d}{name[5:]}"
        assert files[name].startswith(files[drawn])
        np.testing.assert_array_equal(Image.open(tmp_path / name), Image.open(tmp_path / drawn))
