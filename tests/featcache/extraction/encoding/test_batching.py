"""Batches: captions waste little on padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from featcache.extraction.encoding.batching import token_batches
from featcache.extraction.run import ExtractOptions, extract

from factories import FakeEncoder, FakeSpec, make_cache, read_manifest, write_dataset


@given(st.lists(st.integers(1, 512), max_size=300), st.integers(1, 64))
def test_every_text_is_in_one_batch_and_no_batch_is_too_large(lengths: list[int], n_rows: int) -> None:
    batches = token_batches(lengths, n_rows)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or (len(batch) <= 4 * n_rows and len(batch) * longest <= 32 * n_rows)


@given(st.lists(st.integers(1, 512), max_size=300), st.integers(1, 16), st.sets(st.integers(0, 100)))
def test_batches_that_are_done_leave_the_others_as_they_are(lengths: list[int], n_rows: int, done: set[int]) -> None:
    batches = token_batches(lengths, n_rows)
    left = [batch for number, batch in enumerate(batches) if number not in done]
    rows = np.sort(np.concatenate(left)) if left else np.empty(0, np.int64)
    again = [rows[batch].tolist() for batch in token_batches([lengths[row] for row in rows], n_rows)]
    assert again == [batch.tolist() for batch in left]


def test_captions_like_those_of_coco_waste_less_than_a_tenth_on_padding() -> None:
    rng = np.random.default_rng(0)
    for n in (500, 4096):
        lengths = np.clip(np.round(rng.lognormal(np.log(12.5), 0.25, n)), 8, 60).astype(int).tolist()
        batches = token_batches(lengths, 64)
        padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
        assert padded <= 1.10 * sum(lengths) and len(batches) <= sum(lengths) / 700


def test_texts_of_one_length_keep_their_order() -> None:
    assert np.concatenate(token_batches([7] * 40, 4)).tolist() == list(range(40))


@dataclass(frozen=True)
class WordSpec(FakeSpec):
    """A fake encoder of texts that cuts them into words."""

    def load(self, device: str, *, compile: bool = False) -> Words:
        return Words(self)


@dataclass(frozen=True)
class Words(FakeEncoder):
    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int.from_bytes(word.encode(), "big") % 1000 for word in text.split()] for text in texts]

    def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[np.float32]]:
        self.spec.log.append(len(batch) * max(map(len, batch)))
        return super().encode([repr(tokens) for tokens in batch])


def test_captions_are_tokenised_once_cut_by_tokens_and_put_back_in_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    captions = [" ".join(f"w{rng.integers(9)}" for _ in range(rng.integers(5, 40))) for _ in range(60)]
    data = read_manifest(write_dataset(tmp_path / "d", 60, caption=[c for c in captions for _ in range(3)]))
    words = WordSpec("text", ("cls",))
    extract(data, make_cache(tmp_path / "a"), [words], options=ExtractOptions(device="cpu", batch_size=4))
    assert max(words.log) <= 32 * 4 and len(words.log) > 5
    one = WordSpec("text", ("cls",))
    extract(data, make_cache(tmp_path / "b"), [one], options=ExtractOptions(device="cpu", batch_size=1))
    a, b = ([p.read_bytes() for p in sorted((tmp_path / name).glob("features/**/*.h5"))] for name in "ab")
    assert a == b
