"""Pictures on a GPU, turned to stand upright."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL.Image import Transpose

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["turn_picture"]


def turn_picture(picture: Tensor, turn: Transpose | None) -> Tensor:
    """Turn a picture (height, width, 3) as `PIL.Image.Image.transpose` does; None: it stands upright as it is."""
    match turn:
        case None:
            return picture
        case Transpose.FLIP_LEFT_RIGHT:
            turned = picture.flip(1)
        case Transpose.ROTATE_180:
            turned = picture.flip(0, 1)
        case Transpose.FLIP_TOP_BOTTOM:
            turned = picture.flip(0)
        case Transpose.TRANSPOSE:
            turned = picture.transpose(0, 1)
        case Transpose.ROTATE_270:
            turned = picture.transpose(0, 1).flip(1)
        case Transpose.TRANSVERSE:
            turned = picture.transpose(0, 1).flip(0, 1)
        case Transpose.ROTATE_90:
            turned = picture.transpose(0, 1).flip(0)
    return turned.contiguous()
