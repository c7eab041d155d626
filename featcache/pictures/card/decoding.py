"""JPEGs decoded on a GPU, many together, by the engine that some GPUs have for them: nvImageCodec.

Only that engine, which A100, H100, H200 and their kind have: what else nvImageCodec does on a GPU differs from Pillow
by up to three levels. What the engine refuses is for Pillow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
from torch import Tensor

from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegKind

__all__ = ["CardDecoder"]

_ON_CPU = -99999
_SMOOTH = ":fancy_upsampling=1"
"""Chroma is interpolated as libjpeg does by default; without, the pixels are others."""


class CardDecoder:
    """Decodes batches of JPEGs into the memory of a device.

    Parameters
    ----------
    codec : module
        What `featcache.pictures.card.codec.find_codec` found.
    device : torch.device
        A GPU; on a CPU libjpeg-turbo stands in for the engine, so that all around it can be tried.
    n_threads : int
        Threads of the host that read headers and start the engine.
    """

    def __init__(self, codec: Any, device: torch.device, *, n_threads: int = 1) -> None:
        self._codec, self._is_cuda = codec, device.type == "cuda"
        kind = codec.BackendKind.HW_GPU_ONLY if self._is_cuda else codec.BackendKind.CPU_ONLY
        index = (device.index or 0) if self._is_cuda else _ON_CPU
        backends = [codec.Backend(kind)]
        self._decoder = codec.Decoder(
            device_id=index, max_num_cpu_threads=n_threads, backends=backends, options=_SMOOTH
        )
        self._parameters = codec.DecodeParams(apply_exif_orientation=False, color_spec=codec.ColorSpec.SRGB)

    @property
    def name(self) -> str:
        """What it is called in the ``versions`` of a shard."""
        return "nvimgcodec"

    @property
    def version(self) -> str:
        """Of nvImageCodec."""
        return str(self._codec.__version__)

    def takes(self, kind: JpegKind) -> bool:
        """Whether files of this kind were proved to be equal, in every bit."""
        return is_plain(kind)

    def decode(self, files: Sequence[bytes | memoryview]) -> list[Tensor | None]:
        """Decode JPEGs of kinds that it takes.

        Returns
        -------
        list of uint8 Tensor (height, width, 3) or None
            On the device, RGB as stored, not turned by EXIF; None: Pillow is to look at this file.
        """
        streams = [self._codec.CodeStream(bytes(data)) for data in files]
        images = self._decoder.decode(streams, params=self._parameters)
        return [None if image is None else self._take(image) for image in images]

    def _take(self, image: Any) -> Tensor | None:
        """Return an image as a tensor that shares its memory; None if it is not what was asked for."""
        tensor: Tensor = (
            torch.utils.dlpack.from_dlpack(image) if self._is_cuda else torch.from_numpy(np.array(image.cpu()))
        )
        is_rgb = tensor.dtype == torch.uint8 and tensor.ndim == 3 and tensor.shape[2] == 3
        if not is_rgb or tensor.stride(1) != 3 or tensor.stride(2) != 1:
            return None
        return tensor
