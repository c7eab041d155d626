"""Loading pretrained weights with transformers: quietly, safely, and never with parts missing."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from featcache.encoders.base import Device
from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError

__all__ = [
    "computing_in",
    "is_cuda",
    "load_weights",
    "lower",
    "preferred_dtype",
    "quiet_transformers",
    "resolve_device",
]


def resolve_device(device: Device) -> str:
    """Turn ``auto`` into ``cuda`` or ``cpu``; ModelError if CUDA is asked for and not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        raise ModelError(
            f"--device cuda: no usable CUDA device; torch {torch.__version__} is {build}. "
            "Install a CUDA build of torch on a machine with an NVIDIA GPU, or use --device cpu"
        )
    return device


def is_cuda(device: Device) -> bool:
    """Tell whether a device is or turns out to be a GPU; torch is not loaded to learn that the CPU is none."""
    return device != "cpu" and resolve_device(device) == "cuda"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and load reports; what matters in them we check ourselves."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_weights(
    folder: ModelFolder,
    model_class: Any,
    *,
    optional: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[Any, frozenset[str]]:
    """Load a frozen model in float32.

    Parameters
    ----------
    folder : ModelFolder
        Local files; nothing is fetched, no remote code is run, ``.bin`` files go through torch's weights-only loader.
    model_class : type
        A transformers model class.
    optional : sequence of str
        Prefixes of parameters that may be missing (e.g. ``"pooler."``).
    changes : mapping
        Fields of the configuration that are to be other than ``config.json`` says.
    arguments : mapping
        What the class has to be told besides its configuration.

    Returns
    -------
    model : torch.nn.Module
        The model in evaluation mode, in float32.
    missing : frozenset of str
        The prefixes of ``optional`` of which parameters were missing: those parts hold random numbers.

    Raises
    ------
    ModelError
        If any other parameter is missing, or the files cannot be read.
    """
    import torch

    try:
        with quiet_transformers():
            config: Any = None
            if changes:
                config = model_class.config_class.from_pretrained(folder.path, local_files_only=True)
                for name, value in changes.items():
                    setattr(config, name, value)
            model, report = model_class.from_pretrained(
                folder.path,
                dtype=torch.float32,
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=folder.uses_safetensors,
                weights_only=True,
                variant=folder.variant,
                **({} if config is None else {"config": config}),
                **(arguments or {}),
            )
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"weights of model {folder.name!r} are a pickle that holds more than tensors: refused, use safetensors"
        ) from error
    except Exception as error:  # whatever the libraries raise of files that are not what they expect
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model {folder.name!r} cannot be loaded as {model_class.__name__}: {reason}") from error
    missing = set(report["missing_keys"]) | {str(key) for key in report["mismatched_keys"]}
    absent = frozenset(prefix for prefix in optional if any(key.startswith(prefix) for key in missing))
    needed = sorted(key for key in missing if not key.startswith(tuple(absent)) or not absent)
    if needed:
        raise ModelError(
            f"model {folder.name!r} lacks {len(needed)} parameters of {model_class.__name__}, first {needed[0]!r}: "
            "they would be random numbers; use a folder with complete weights"
        )
    _check_whole(folder, model, report["unexpected_keys"])
    model.config.return_dict = True  # whatever the file says: outputs are asked for by name
    return model.eval().requires_grad_(False), absent


def _check_whole(folder: ModelFolder, model: Any, unexpected: Iterable[str]) -> None:
    """Refuse weights of more than this model: blocks behind its last, register tokens that it would leave out."""
    import torch

    lengths = {f"{path}.": len(part) for path, part in model.named_modules() if isinstance(part, torch.nn.ModuleList)}
    for key in sorted(unexpected):
        found = [re.search(rf"(^|.*\.){re.escape(path)}([0-9]+)\.", key) for path in lengths]
        deeper = any(
            match and int(match[2]) >= n and not re.search("text|vision|decoder|language", match[1])
            for match, n in zip(found, lengths.values(), strict=True)
        )
        if deeper or "register_tokens" in key.split("."):
            raise ModelError(
                f"model {folder.name!r} has weights that {type(model).__name__} leaves out, first {key!r}: "
                "its config.json is of another model"
            )


@contextmanager
def computing_in(device: str, dtype: str) -> Iterator[None]:
    """Compute forwards in ``dtype`` while this is open, without gradients; float32 is float32 on a GPU too.

    float16 and bfloat16 are torch's autocast: products in that type, norms and sums in float32.
    """
    import torch

    lowered = torch.autocast(device, dtype=getattr(torch, dtype), enabled=dtype != "float32")
    with torch.inference_mode(), _exact_float32(), lowered:
        yield


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Have no factor of a float32 product or convolution rounded to fewer bits, whatever this process is set to.

    By default cuDNN rounds those of a convolution, and so every patch, to 10 bits; those of products are rounded where
    somebody asked for it.
    """
    import torch

    backends: Any = torch.backends
    if _has_newer_settings():
        places = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
        kept = [place.fp32_precision for place in places]
        try:
            for place in places:
                place.fp32_precision = "ieee"
            yield
        finally:
            for place, precision in zip(places, kept, strict=True):
                place.fp32_precision = precision
        return
    before = torch.get_float32_matmul_precision()
    try:
        if before != "highest":
            torch.set_float32_matmul_precision("highest")
        with backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def _has_newer_settings() -> bool:
    """Tell whether precisions were set by the names of torch 2.9: the older names do not tell them then, or raise."""
    import torch

    if any(getattr(place, "fp32_precision", "none") != "none" for place in (torch.backends, torch.backends.cudnn)):
        return True
    try:
        _ = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return True
    return False


def lower(model: Any, dtype: str, *, but: Sequence[str] = ()) -> Any:
    """Store the factors of products in the dtype that autocast would cast them to in every forward.

    The vectors are the same in every bit; a forward saves the casts. Modules whose names end with one of ``but`` are
    left as they are.
    """
    import torch

    if dtype != "float32":
        for name, module in model.named_modules():
            is_factor = isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
            if is_factor and not name.endswith(tuple(but)):
                module.to(getattr(torch, dtype))
    return model


def preferred_dtype(device: str) -> str:
    """Return the compute dtype that ``auto`` means on a device: bfloat16 or float16 on CUDA, float32 on a CPU."""
    import torch

    if device == "cpu":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
