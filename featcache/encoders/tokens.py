"""Captions → token ids → padded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.loading import quiet_transformers
from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError

__all__ = ["Texts", "Tokeniser"]

_AT_ONCE = 512
_CASED = "A Red Ball, ÉLAN"

Texts = Sequence[str] | Sequence[Sequence[int]]
"""Captions in their template, or what `Tokeniser.tokenise` makes of them."""


class Tokeniser:
    """The tokenizer of a model, cutting on the right.

    Parameters
    ----------
    folder : ModelFolder
        The folder of the model and its tokenizer.
    max_length : int
        Most tokens of a text, special tokens included.
    lower_case : bool
        Whether texts are put in lower case before all that it does by itself.

    Raises
    ------
    ModelError
        If its files cannot be used, or it does not say how to pad.
    """

    def __init__(self, folder: ModelFolder, max_length: int, *, lower_case: bool = False) -> None:
        from transformers import AutoTokenizer

        self.max_length = max_length
        try:
            with quiet_transformers():
                self._tokenizer: Any = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
        except Exception as error:  # the library that reads the files raises nothing less general
            reason = _lacks_reader(folder) or " ".join(str(error).split())[:300]
            raise ModelError(f"tokenizer of model {folder.name!r} cannot be loaded: {reason}") from error
        self._check_case(folder)
        # Whatever is filled in is masked: the token that ends a text will do where there is none for that.
        padding = self._tokenizer.pad_token_id
        self._padding: int | None = self.end if padding is None else int(padding)
        if self._padding is None:
            raise ModelError(f"tokenizer of model {folder.name!r} has no padding token")
        self._tokenizer.truncation_side = "right"
        if lower_case:
            _put_in_lower_case(self._tokenizer, folder)

    def _check_case(self, folder: ModelFolder) -> None:
        """Make sure that without a configuration nothing is made up: transformers has texts of a BERT in lower case."""
        if (folder.path / "tokenizer_config.json").is_file():
            return
        own = folder.path / "tokenizer.json"
        if own.is_file():
            if self._reads_as(own):
                return
            why = "transformers reads its tokenizer.json otherwise than it is"
        elif not (folder.path / "vocab.txt").is_file():
            return
        else:
            why = "vocab.txt alone does not say whether capitals count"
        raise ModelError(f"model {folder.name!r} has no tokenizer_config.json, and {why}: add the model's own")

    def _reads_as(self, own: Path) -> bool:
        """Tell whether texts become the tokens that a ``tokenizer.json`` makes of them."""
        from tokenizers import Tokenizer

        try:
            return bool(Tokenizer.from_file(str(own)).encode(_CASED).ids == self._tokenizer(_CASED)["input_ids"])
        except Exception:  # what is made of it is not even whole; the library raises nothing less general
            return False

    @property
    def end(self) -> int | None:
        """Id of the token that ends a text; None if it has none."""
        found = self._tokenizer.eos_token_id
        return None if found is None else int(found)

    @property
    def largest(self) -> int:
        """Largest id that there is."""
        return int(max(self._tokenizer.get_vocab().values()))

    @property
    def two_words(self) -> tuple[int, int]:
        """Ids of two tokens that are not special: the smallest."""
        special = set(self._tokenizer.all_special_ids)
        first, second, *_ = sorted(set(self._tokenizer.get_vocab().values()) - special)
        return int(first), int(second)

    @property
    def padding(self) -> int:
        """Id that texts are filled up with."""
        assert self._padding is not None
        return self._padding

    @property
    def begins_alike(self) -> bool:
        """Whether all texts begin with the same token, as far as three of them tell."""
        return len({ids[0] for ids in self.tokenise(["a", "b", "red ball"]) if ids}) == 1

    def n_leading(self, text: str) -> int:
        """Return how many tokens stand before what follows a text, special ones included."""
        if not text:
            return 0
        ids = self.tokenise([text])[0]
        return len(ids) - bool(ids and ids[-1] in self._tokenizer.all_special_ids)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, special tokens included, cut to `max_length`."""
        ids: list[list[int]] = []
        # What a tokenizer keeps of a text besides its ids, until it is done, is a hundred times as much.
        for start in range(0, len(texts), _AT_ONCE):
            part = list(texts[start : start + _AT_ONCE])
            found = self._tokenizer(part, padding=False, truncation=True, max_length=self.max_length)["input_ids"]
            ids += [list(one) for one in found]
        return ids

    def pad(self, texts: Texts, *, multiple: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the texts as one array, padded on the right to the longest.

        Parameters
        ----------
        texts : sequence of str or of sequences of int
            Captions or their ids.
        multiple : int
            The width is the next multiple, but at most `max_length`.

        Returns
        -------
        ids : (n, w) int64
            Ids of the tokens, padded to one length.
        mask : (n, w) int64
            1 where there is a token of the text.
        """
        ids = self.tokenise([str(text) for text in texts]) if isinstance(texts[0], str) else texts
        lengths = np.array([len(one) for one in ids])
        longest = max(int(lengths.max()), 1)  # a text may have no token at all
        width = max(longest, min(-(-longest // multiple) * multiple, self.max_length))
        mask = np.arange(width) < lengths[:, None]
        padded = np.full(mask.shape, self._padding, np.int64)
        padded[mask] = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
        return padded, mask.astype(np.int64)


def _lacks_reader(folder: ModelFolder) -> str | None:
    """Return that the vocabulary is of a library that is not installed, which transformers says of another one."""
    vocabularies = sorted(file.name for file in folder.path.glob("*.model"))
    if not vocabularies or (folder.path / "tokenizer.json").is_file() or find_spec("sentencepiece") is not None:
        return None
    return f"its {vocabularies[0]} is read with two more packages: pip install sentencepiece protobuf"


def _put_in_lower_case(tokenizer: Any, folder: ModelFolder) -> None:
    from tokenizers import normalizers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"tokenizer of model {folder.name!r} cannot be told to put texts in lower case")
    own = backend.normalizer
    steps = (
        [own[k] for k in range(len(own))] if isinstance(own, normalizers.Sequence) else [own] if own is not None else []
    )
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
