"""What the files of a sentence-transformers folder say: how texts are fed, pooled, and what follows the pooling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.encoders.model_folder import ModelFolder
from featcache.encoders.pooling import POOLING_MODES
from featcache.errors import ModelError
from featcache.files.digests import sha256_file

__all__ = ["MODULES", "Dense", "SentenceRecipe", "read_recipe"]

MODULES = "modules.json"
_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_ENCODING_FILE = "config_sentence_transformers.json"
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_FOLDER = re.compile(r"\w[\w.-]*")
# What the modules may say, and how: all else would change their vectors.
_PLAIN = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
_PLAIN_DENSE = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
}
_NO_MATTER = {"max_seq_length", "do_lower_case", "modality_config", "unpad_inputs"}


@dataclass(frozen=True)
class Dense:
    """A layer that follows the pooling.

    Attributes
    ----------
    weights : Path
        The file with ``linear.weight`` and maybe ``linear.bias``.
    n_in, n_out : int
        Columns before and after it.
    has_bias : bool
        Whether it adds a bias.
    activation : str
        ``identity``, ``tanh`` or ``relu``.
    """

    weights: Path
    n_in: int
    n_out: int
    has_bias: bool
    activation: str


@dataclass(frozen=True)
class SentenceRecipe:
    """How sentence-transformers would make the vector of a text.

    Attributes
    ----------
    pooling : tuple of str
        Names of `POOLING_MODES`, whose vectors are joined in this order.
    includes_prompt : bool
        Whether the tokens that stand before the caption are pooled with it.
    layers : tuple of Dense or None
        What follows the pooling; None brings the vector to length 1.
    max_length : int or None
        Most tokens of a text; None if it is not said.
    lower_case : bool
        Whether texts are put in lower case.
    prompt : str
        What stands before every text unless the user says something else.
    """

    pooling: tuple[str, ...]
    includes_prompt: bool = True
    layers: tuple[Dense | None, ...] = ()
    max_length: int | None = None
    lower_case: bool = False
    prompt: str = ""

    def document(self) -> dict[str, Any]:
        """Return what the vectors depend on, beside what identities of texts have anyway."""
        return {
            "version": 1,
            "pooling": list(self.pooling),
            "prompt": "pooled" if self.includes_prompt else "left out",
            "layers": [
                "normalize"
                if layer is None
                else {"weights": sha256_file(layer.weights), "activation": layer.activation}
                for layer in self.layers
            ],
            "lower_case": self.lower_case,
        }

    def width(self, hidden_size: int) -> int:
        """Return how many columns its vectors have."""
        widths = [layer.n_out for layer in self.layers if layer is not None]
        return widths[-1] if widths else hidden_size * len(self.pooling)


def read_recipe(folder: ModelFolder) -> SentenceRecipe:
    """Read the files of a sentence-transformers folder.

    Raises
    ------
    ModelError
        If they say something that cannot be done exactly, or nothing that makes sense.
    """
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not {"Dense", "Normalize"}.issuperset(kinds[2:]):
        expected = "Transformer, Pooling and maybe Dense or Normalize"
        raise _refusal(folder, f"its modules are {', '.join(kinds)}, expected {expected}")
    if modules[0][1]:
        raise _refusal(folder, f"its transformer lies in {modules[0][1]!r}, expected beside {MODULES}")
    pooling = folder.read_json(f"{modules[1][1]}/config.json")
    encoding = _read_if_there(folder, _ENCODING_FILE)
    transformer = next((found for file in _TRANSFORMER_FILES if (found := _read_if_there(folder, file))), {})
    _check_transformer(folder, transformer)
    return SentenceRecipe(
        _pooling_modes(folder, pooling),
        includes_prompt=pooling.get("include_prompt", True) is not False,
        layers=tuple(_dense(folder, place) if kind == "Dense" else None for kind, place in modules[2:]),
        max_length=_max_length(folder, transformer),
        lower_case=transformer.get("do_lower_case") is True,
        prompt=_default_prompt(folder, encoding),
    )


def _refusal(folder: ModelFolder, why: str) -> ModelError:
    return ModelError(f"model {folder.name!r}: its output 'sentence' cannot be made: {why}; use mean, last or cls")


def _read_if_there(folder: ModelFolder, file: str) -> dict[str, Any]:
    return folder.read_json(file) if (folder.path / file).is_file() else {}


def _modules(folder: ModelFolder) -> list[tuple[str, str]]:
    """Return the last word of each module's type, and the folder that it has its files in."""
    listed = folder.read(MODULES)
    found = []
    for module in listed if isinstance(listed, list) else [None]:
        kind, path = (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(path, str) or (path and not _FOLDER.fullmatch(path)):
            expected = "expected modules with a type and a path"
            raise ModelError(f"model {folder.name!r}: {MODULES} has {module!r}, {expected}")
        if not path and kind.endswith(("Pooling", "Dense")):
            raise ModelError(f"model {folder.name!r}: {MODULES} has {module!r}, expected the folder of its files")
        found.append((kind.rpartition(".")[2], path))
    return found


def _pooling_modes(folder: ModelFolder, config: Mapping[str, Any]) -> tuple[str, ...]:
    stated: Any = config.get("pooling_mode")
    if stated is None:
        stated = [mode for flag, mode in _FLAGS.items() if config.get(flag) is True] or ["mean"]
    modes = (stated,) if isinstance(stated, str) else tuple(stated) if isinstance(stated, Sequence) else ()
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown or not modes:
        wrong = unknown[0] if unknown else stated
        raise _refusal(folder, f"it pools by {wrong!r}, expected some of {', '.join(POOLING_MODES)}")
    return modes


def _dense(folder: ModelFolder, place: str) -> Dense:
    config, weights = folder.read_json(f"{place}/config.json"), folder.path / place / "model.safetensors"
    sizes = [config.get(name) for name in ("in_features", "out_features")]
    n_in, n_out = (n if isinstance(n, int) and not isinstance(n, bool) and 0 < n < 1 << 20 else None for n in sizes)
    activation = _ACTIVATIONS.get(str(config.get("activation_function")))
    if n_in is None or n_out is None or activation is None or config.get("use_residual"):
        names = ("in_features", "out_features", "activation_function", "use_residual")
        raise _refusal(folder, f"its layer {place!r} has { ({name: config.get(name) for name in names}) }")
    if any(config.get(field) not in (None, value) for field, value in _PLAIN_DENSE.items()):
        raise _refusal(folder, f"its layer {place!r} does not follow the pooling")
    if not weights.is_file():
        raise _refusal(folder, f"its layer {place!r} has no model.safetensors")
    return Dense(weights, n_in, n_out, config.get("bias", True) is not False, activation)


def _check_transformer(folder: ModelFolder, config: Mapping[str, Any]) -> None:
    for field, value in config.items():
        if value and field not in _NO_MATTER and value != _PLAIN.get(field):
            raise _refusal(folder, f"its transformer has {field} {value!r}")
    modalities = config.get("modality_config")
    text = modalities.get("text") if isinstance(modalities, dict) else None
    plain = {"method": "forward", "method_output_name": "last_hidden_state"}
    if modalities is not None and text != plain:
        raise _refusal(folder, f"its transformer takes texts by {text!r}")


def _max_length(folder: ModelFolder, config: Mapping[str, Any]) -> int | None:
    value = config.get("max_seq_length")
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31):
        return value
    raise ModelError(f"model {folder.name!r}: max_seq_length is {value!r}, expected a whole number")


def _default_prompt(folder: ModelFolder, config: Mapping[str, Any]) -> str:
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    if not name:
        return ""
    known = {"query": "", "document": ""} | (prompts if isinstance(prompts, dict) else {})
    if not isinstance(name, str) or not isinstance(known.get(name), str):
        raise ModelError(f"model {folder.name!r}: {_ENCODING_FILE} has no text of its default prompt {name!r}")
    return str(known[name])
