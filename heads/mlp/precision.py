"""In which numbers the wide products are taken."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from heads.errors import HeadsError

__all__ = ["Precision", "matrix_dtype", "multiplies_bfloat16"]

Precision = Literal["auto", "float32", "bfloat16"]


def matrix_dtype(device: str, precision: Precision) -> torch.dtype:
    """Return the dtype of a matrix on a device; ``"auto"`` is bfloat16 where that is multiplied fast."""
    if precision not in get_args(Precision):
        raise HeadsError(f"precision is {precision!r}, expected one of {', '.join(get_args(Precision))}")
    if precision == "auto":
        precision = "bfloat16" if multiplies_bfloat16(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def multiplies_bfloat16(device: str) -> bool:
    """Return whether a device multiplies bfloat16 in hardware; without that it is slower than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] >= 8)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
