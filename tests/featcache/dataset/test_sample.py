import pickle
from pathlib import Path

import pytest

from featcache.dataset.sample import ImageFile, ImageSource


def test_an_image_file_gives_exactly_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\x00\xffpicture")
    image = ImageFile(str(path))
    assert isinstance(image, ImageSource)
    assert image.read_bytes() == b"\x00\xffpicture"
    assert image.name == str(path)
    assert pickle.loads(pickle.dumps(image)) == image


@pytest.mark.parametrize("path", ["missing.jpg", "a\0b.jpg", "\ud800.jpg", "x" * 5000])
def test_an_impossible_path_is_an_os_error(path: str) -> None:
    with pytest.raises(OSError):
        ImageFile(path).read_bytes()
