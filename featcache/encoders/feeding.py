"""A batch of what `ImageSpec.prepare` made → the arguments of a vision model's forward, on its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featcache.encoders.towers import VisionTower
from featcache.errors import ModelError
from featcache.pictures.patches import PatchPreprocessor
from featcache.pictures.preprocess import Preprocessor

__all__ = ["Feed", "check_size", "feed_of"]

Feed = Callable[[Any], dict[str, Any]]
"""From a tensor of uint8 to tensors by the name of the argument."""


def check_size(tower: VisionTower, preprocessor: Preprocessor | PatchPreprocessor) -> None:
    """Raise `ModelError` unless a model takes what its preprocessing makes."""
    name = f"model {tower.folder.name!r}"
    if isinstance(preprocessor, PatchPreprocessor):
        if preprocessor.patch_size != tower.patch_size:
            made = preprocessor.patch_size
            raise ModelError(f"{name} takes patches of side {tower.patch_size}, its preprocessing makes {made}")
        return
    expected, (height, width) = tower.image_size, preprocessor.size
    asked = preprocessor.image_size
    if asked is None:
        if expected is not None and (height, width) != (expected, expected):
            raise ModelError(
                f"{name} takes {expected} × {expected} pixels, its preprocessor_config.json makes {height} × {width}"
            )
    elif tower.sizes == "fixed":
        raise ModelError(f"{name} takes {expected} × {expected} pixels only: its positions are not interpolated")
    elif asked % tower.patch_size:
        raise ModelError(f"image size {asked} is no multiple of {tower.patch_size}, the side of a patch of {name}")


def feed_of(tower: VisionTower, preprocessor: Preprocessor | PatchPreprocessor, device: str) -> Feed:
    """Return how what a preprocessor makes is fed to a model."""
    if isinstance(preprocessor, PatchPreprocessor):
        return _Patches(preprocessor, device)
    is_told = tower.sizes == "interpolated" and preprocessor.image_size is not None
    return _Pixels(preprocessor, device, {"interpolate_pos_encoding": True} if is_told else {})


class _Pixels:
    """(n, H, W, 3) → normalised (n, 3, H, W)."""

    def __init__(self, preprocessor: Preprocessor, device: str, constants: dict[str, Any]) -> None:
        self._scale, self._shift = _normalisation(preprocessor, device)
        self._scale, self._shift = self._scale.view(1, 3, 1, 1), self._shift.view(1, 3, 1, 1)
        self._constants = constants

    def __call__(self, pixels: Any) -> dict[str, Any]:
        levels = pixels.permute(0, 3, 1, 2).float()
        return {"pixel_values": levels * self._scale - self._shift, **self._constants}


class _Patches:
    """(n, 1 + p, 3·s²) → normalised (n, p, 3·s²), which of them there are, and how many lie in rows and columns."""

    def __init__(self, preprocessor: PatchPreprocessor, device: str) -> None:
        self._scale, self._shift = _normalisation(preprocessor, device)

    def __call__(self, rows: Any) -> dict[str, Any]:
        import torch

        levels = rows[:, 1:].float()
        n, n_patches, width = levels.shape
        header = rows[:, 0, :4].long()
        # First rows of what only fills a batch, or is made up to be timed, say nothing: any shape that fits will do.
        height = (header[:, 0] + 256 * header[:, 1]).clamp(1, n_patches)
        columns = torch.minimum((header[:, 2] + 256 * header[:, 3]).clamp(min=1), n_patches // height)
        mask = torch.arange(n_patches, device=rows.device) < (height * columns).unsqueeze(1)
        values = levels.view(n, n_patches, width // 3, 3) * self._scale - self._shift
        return {
            "pixel_values": values.view(n, n_patches, width) * mask.unsqueeze(-1),
            "pixel_attention_mask": mask.to(torch.int32),
            "spatial_shapes": torch.stack([height, columns], dim=1),
        }


def _normalisation(preprocessor: Preprocessor | PatchPreprocessor, device: str) -> tuple[Any, Any]:
    import torch

    std = torch.tensor(preprocessor.std, device=device)
    return preprocessor.rescale / std, torch.tensor(preprocessor.mean, device=device) / std
