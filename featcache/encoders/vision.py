"""CLIP-family and other ViT-like vision encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.encoders.base import Device, Vectors, check_rules
from featcache.encoders.blocks import BlockOutputs
from featcache.encoders.compiled import Forward
from featcache.encoders.feeding import check_size, feed_of
from featcache.encoders.loading import computing_in, load_weights, lower, resolve_device
from featcache.encoders.model_folder import ModelFolder
from featcache.encoders.towers import PROJECTION, VisionTower
from featcache.encoders.transfer import fetch, send_stacked
from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.outputs import abbreviate, expand
from featcache.pictures.decode_rules import DECODE_RULES, DecodeMode, decode_document
from featcache.pictures.patches import PatchPreprocessor
from featcache.pictures.preprocess import Backend, Fit, Preprocessor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ImageSpec", "VisionEncoder"]


@dataclass(frozen=True)
class ImageSpec:
    """Which vision encoder, how pictures come to its size, and which of its outputs.

    Attributes
    ----------
    folder : ModelFolder
        A model of a type that `VisionTower` knows.
    outputs : tuple of str
        ``pooled``: the tower's pooled output, *before* any projection. ``projected``: that after CLIP's projection
        into the space it shares with text. ``cls``: class token of the last hidden state, after the final norm where
        a model has one for all tokens (ViT, DINOv2, not CLIP). ``mean``: mean of the patch tokens of the last hidden
        state, without class and register tokens. ``layers:k``: the class token as the k-th block puts it out, before
        any final norm; ``layers_mean:k``: the mean of its patch tokens. May be given as a request (``layers:all``); a
        model without one of them refuses it.
    compute_dtype, storage_dtype : str
        Dtypes of the forward, and of the vectors on disk.
    resize : {"pillow", "torch"}
        Which library resizes the pictures.
    square_crop : bool
        Whether the largest square in the middle stands for the picture.
    decode : {"exact", "fast"}
        ``fast`` lets libjpeg decode large JPEGs at a fraction of their size, at least twice that of the resize.
    image_size : int or None
        Side of the pictures that the model sees, if not its own: its positions are interpolated.
    fit : {"crop", "squash", "pad"} or None
        How pictures of another aspect come to that size, if not in the model's own way.
    decode_rules : int
        By which rules pictures become RGB: the latest, or those of a cache that has vectors by earlier ones.
    """

    folder: ModelFolder
    outputs: tuple[str, ...] = ("pooled",)
    compute_dtype: str = "float32"
    storage_dtype: str = "float16"
    resize: Backend = "pillow"
    square_crop: bool = False
    decode: DecodeMode = "exact"
    image_size: int | None = None
    fit: Fit | None = None
    decode_rules: int = DECODE_RULES
    modality: Literal["image"] = field(default="image", init=False)

    def __post_init__(self) -> None:
        tower = self.tower
        owner = f"model {self.folder.name!r} ({self.folder.model_type})"
        outputs = expand(self.outputs, tower.outputs, owner=owner, reasons=tower.untrained, error=ModelError)
        object.__setattr__(self, "outputs", outputs)
        if self.decode not in ("exact", "fast"):
            raise ModelError(f"decode mode {self.decode!r} is unknown, expected exact or fast")
        check_rules(self.decode_rules)
        check_size(tower, self.preprocessor)

    @cached_property
    def tower(self) -> VisionTower:
        """What the model's configuration tells."""
        return VisionTower(self.folder)

    @property
    def widths(self) -> Mapping[str, int]:
        """Columns of the outputs, as far as they are known before the weights are read."""
        widths = {output: self.tower.width(output) for output in self.outputs}
        return {output: width for output, width in widths.items() if width is not None}

    @cached_property
    def preprocessor(self) -> Preprocessor | PatchPreprocessor:
        """The model's own preprocessing, with what was chosen instead of it."""
        foreign = self.tower.architecture.foreign
        if foreign is not None:
            made = foreign.pixels(self.folder)
            own = Preprocessor(**made, backend=self.resize, square_crop=self.square_crop)
            return own.sized(self.image_size).fitted(self.fit)
        stated = [self._stated_by(config) for config in self.folder.processor_configs]
        if stated[0] != stated[-1]:
            raise ModelError(
                f"model {self.folder.name!r}: its preprocessor_config.json and processor_config.json bring pictures "
                "to it in two ways: remove the one that is wrong (transformers 5 goes by processor_config.json)"
            )
        return stated[0]

    def _stated_by(self, config: Mapping[str, Any]) -> Preprocessor | PatchPreprocessor:
        if self.tower.architecture.takes_patches:
            if self.image_size is not None or self.fit is not None:
                raise ModelError(
                    f"model {self.folder.name!r} takes patches of a picture in its own size and aspect: "
                    "neither image size nor fit can be chosen"
                )
            return PatchPreprocessor.from_config(config, resize=self.resize, square_crop=self.square_crop)
        own = Preprocessor.from_config(
            config, model_type=self.folder.model_type, resize=self.resize, square_crop=self.square_crop
        )
        return own.sized(self.image_size).fitted(self.fit)

    @property
    def device_preprocessor(self) -> Preprocessor | None:
        """The preprocessing, as `VisionEncoder` also takes tensors of its device; None if it is none of fixed size."""
        own = self.preprocessor
        is_own = type(self) is ImageSpec  # others may load what takes arrays alone, or prepare otherwise
        return own if is_own and isinstance(own, Preprocessor) else None

    @property
    def decode_at_least(self) -> tuple[int, int] | None:
        """Height and width below which `decode_rgb` must not scale; None: it must not scale at all."""
        return None if self.decode == "exact" else self.preprocessor.at_least

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the producer."""
        identity = {
            "format": 1,
            "modality": "image",
            "model": self.folder.document(),
            "decode": decode_document(self.decode, self.decode_rules),
            "preprocess": self.preprocessor.document(),
            "compute_dtype": self.compute_dtype,
            "storage_dtype": self.storage_dtype,
        }
        return Fingerprint(identity, self.folder.source())

    def prepare(self, source: Image.Image) -> NDArray[np.uint8]:
        """Bring a decoded RGB picture to the encoder's size: (H, W, 3) uint8."""
        return self.preprocessor.pixels(source)

    def check(self) -> None:
        """Raise `ModelError` if it cannot be loaded, or lacks an output; holds the weights for a moment."""
        self.load("cpu")

    def load(self, device: Device, *, compile: bool = False) -> VisionEncoder:
        """Read the weights; ``compile`` hands the forward to ``torch.compile``, which pays on a GPU."""
        return VisionEncoder(self, resolve_device(device), compile=compile)


class VisionEncoder:
    """A loaded vision encoder, for one thread."""

    def __init__(self, spec: ImageSpec, device: str, *, compile: bool = False) -> None:
        self.spec = spec
        self.device = device
        tower = spec.tower
        model = _load_projecting(spec) if "projected" in spec.outputs else _load_plain(spec)
        self._project = getattr(model, PROJECTION[:-1], None)
        # transformers puts the tower of a projecting class, and in its first fifth versions of any CLIP, one down.
        self._tower = getattr(model, "vision_model", model)
        self._blocks = BlockOutputs(
            self._tower, spec.outputs, tower.n_blocks, spec.folder.name, mean=self._mean_of_patches
        )
        lower(model, spec.compute_dtype, but=tower.architecture.kept_in_float32).to(device)
        self._feed = feed_of(tower, spec.preprocessor, device)
        self._mask: Any = None
        is_compiled = compile and not tower.architecture.takes_patches
        self._forward = Forward(self._vectors, compile=is_compiled, dynamic=False)
        if compile and not is_compiled:
            self._forward.fallback = "each picture has a shape of its own"
        self._sizes: set[int] = set()

    @property
    def fallback(self) -> str | None:
        """Why the forward is not compiled although it was to be."""
        return self._forward.fallback

    def encode(self, batch: Sequence[NDArray[np.uint8] | Tensor] | NDArray[np.uint8]) -> Vectors:
        """Return one (n, d) float32 array per output for ``n`` pictures of (H, W, 3) uint8."""
        return self.start(batch)()

    def start(self, batch: Sequence[NDArray[np.uint8] | Tensor] | NDArray[np.uint8]) -> Callable[[], Vectors]:
        """Begin to encode pictures: (n, H, W, 3) uint8, or ``n`` of (H, W, 3), arrays and tensors of the device mixed.

        An array may be overwritten as soon as this returns, a tensor let go of. To a compiled forward every size of a
        batch is a program of its own, so a batch is filled up with black to the next size that there was before.
        """
        import torch

        n = size = len(batch)
        if self._forward.is_compiled:
            size = min((size for size in self._sizes if size >= n), default=n)
            self._sizes.add(size)
        try:
            with computing_in(self.device, self.spec.compute_dtype):
                vectors = self._forward(send_stacked(batch, size, self.device))
                return fetch(vectors, self.spec.widths, n)
        except torch.OutOfMemoryError:
            self._sizes = {known for known in self._sizes if known < size}  # nothing is filled up to this again
            raise

    def _vectors(self, pixels: Any) -> Mapping[str, Any]:
        inputs = self._feed(pixels)
        if "pixel_attention_mask" in inputs:
            self._mask = inputs["pixel_attention_mask"]
        states = self._tower(**inputs)
        vectors = self._blocks.take()
        return {name: vectors[name] if name in vectors else self._output(name, states) for name in self.spec.outputs}

    def _output(self, name: str, states: Any) -> Any:
        match name:
            case "pooled":
                return states.pooler_output
            case "projected":
                assert self._project is not None
                return self._project(states.pooler_output)
            case "mean":
                return self._mean_of_patches(states.last_hidden_state)
            case "cls":
                return states.last_hidden_state[:, 0]
            case _:
                raise ModelError(f"model {self.spec.folder.name!r} has no output {name!r}: its blocks do not tell it")

    def _mean_of_patches(self, tokens: Any) -> Any:
        patches = tokens[:, self.spec.tower.n_prefix :].float()
        if self._mask is None:
            return patches.mean(1)
        weights = self._mask.unsqueeze(-1).to(patches.dtype)
        return (patches * weights).sum(1) / weights.sum(1)


def _load_plain(spec: ImageSpec) -> Any:
    import transformers

    architecture = spec.tower.architecture
    if architecture.foreign is not None:
        return architecture.foreign.load(spec.folder, architecture.model_class)
    model_class = getattr(transformers, architecture.model_class)
    optional = (spec.tower.pooler,) if spec.tower.pooler else ()
    model, absent = load_weights(spec.folder, model_class, optional=optional, arguments=architecture.arguments)
    if absent and "pooled" in spec.outputs:
        raise ModelError(
            f"model {spec.folder.name!r} has no output 'pooled': its pooling layer has no weights; "
            f"it has: {abbreviate(set(spec.tower.outputs) - {'pooled'})}"
        )
    return model


def _load_projecting(spec: ImageSpec) -> Any:
    import transformers

    tower = spec.tower
    if tower.architecture.foreign is not None:
        return tower.architecture.foreign.load(spec.folder, str(tower.architecture.projecting_class))
    model_class = getattr(transformers, str(tower.architecture.projecting_class))
    changes = {"projection_dim": tower.projection_dim}
    model, absent = load_weights(spec.folder, model_class, optional=(PROJECTION,), changes=changes)
    if absent:
        raise ModelError(
            f"model {spec.folder.name!r} has no output 'projected': it has no weights of a projection; "
            f"it has: {abbreviate(set(tower.outputs) - {'projected'})}"
        )
    return model
