"""Pictures are turned on a device as Pillow turns them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Transpose

from featcache.pictures.card.turning import turn_picture


@pytest.mark.parametrize("turn", [None, *Transpose])
def test_every_turn_is_pillows_and_the_values_of_a_row_lie_together(turn: Transpose | None) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    found, image = turn_picture(torch.from_numpy(picture), turn), Image.fromarray(picture)
    np.testing.assert_array_equal(found, image if turn is None else image.transpose(turn))
    assert found.stride()[1:] == (3, 1)
