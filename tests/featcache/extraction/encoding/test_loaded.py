"""Encoders in use: a device that runs out of memory gets less at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from featcache.encoders.transfer import send_stacked
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.loaded import LoadedEncoder, LoadedEncoders, probe_rows
from featcache.extraction.run import ExtractOptions, extract

from factories import FakeEncoder, FakeSpec, make_cache, read_manifest, write_dataset


@dataclass
class Small:
    """An encoder on a device that holds ``room`` rows; says so when asked for more, at the start or at the end."""

    room: int
    late: bool = False
    sizes: list[int] = field(default_factory=list)

    def encode(self, batch: Sequence[int]) -> Mapping[str, NDArray[np.float32]]:
        return self.start(batch)()

    def start(self, batch: Sequence[int]) -> Callable[[], Mapping[str, NDArray[np.float32]]]:
        def wait() -> Mapping[str, NDArray[np.float32]]:
            if len(batch) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.sizes.append(len(batch))
            return {"pooled": np.array(batch, np.float32)[:, None]}

        if self.late:
            return wait
        vectors = wait()
        return lambda: vectors


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("room", [1, 3, 8, 100])
def test_out_of_memory_halves_the_batch_and_loses_no_row(late: bool, room: int) -> None:
    forward = LoadedEncoder(Small(room, late), 16)
    for _ in range(2):
        np.testing.assert_array_equal(forward.start(list(range(16)))()["pooled"][:, 0], np.arange(16))
    assert forward.n_rows == max(n for n in (1, 2, 4, 8, 16) if n <= room)


class Stacking(Small):
    """Puts rows together as an encoder of pictures does, before it says that it has no memory."""

    def start(self, batch: Sequence[Any]) -> Callable[[], Mapping[str, NDArray[np.float32]]]:
        return super().start(send_stacked(batch, len(batch), "cpu")[:, 0].tolist())


def test_rows_of_a_device_and_of_the_host_are_halved_alike() -> None:
    window = torch.arange(16, dtype=torch.uint8)[:, None]
    rows = [row.numpy() if number % 5 == 2 else row for number, row in enumerate(window)]
    forward = LoadedEncoder(Stacking(3), 16)
    np.testing.assert_array_equal(forward.start(rows)()["pooled"][:, 0], np.arange(16))
    assert forward.n_rows == 2


def test_what_was_learnt_about_the_memory_is_remembered() -> None:
    encoder = Small(5)
    forward = LoadedEncoder(encoder, 16)
    forward.start(list(range(16)))()
    assert encoder.sizes == [4, 4, 4, 4] and forward.n_rows == 4


def test_a_device_that_cannot_hold_one_row_is_an_error() -> None:
    with pytest.raises(FeatcacheError, match=r"not enough memory for a single content .*--device cpu"):
        LoadedEncoder(Small(0), 4).start([1, 2, 3])()


def test_other_errors_of_an_encoder_stay_what_they_are() -> None:
    class Broken:
        def start(self, batch: Any) -> Any:
            raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        LoadedEncoder(Broken(), 4).start([1])  # type: ignore[arg-type]


def test_trying_out_batches_stops_where_the_memory_ends() -> None:
    assert probe_rows(Small(0), 0) == 1
    assert probe_rows(Small(64), 0) in (32, 64)


@dataclass(frozen=True)
class ScarceSpec(FakeSpec):
    """A fake encoder whose device holds two rows."""

    def load(self, device: str, *, compile: bool = False) -> Scarce:
        return Scarce(self)


@dataclass(frozen=True)
class Scarce(FakeEncoder):
    def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[np.float32]]:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().encode(batch)


def test_an_extraction_that_runs_out_of_memory_stores_the_same_rows(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    scarce = ScarceSpec("image")
    for name, spec in (("a", FakeSpec("image")), ("b", scarce)):
        extract(data, make_cache(tmp_path / name), [spec], options=ExtractOptions(device="cpu", batch_size=8))
    a, b = ([p.read_bytes() for p in sorted((tmp_path / name).glob("features/**/*.h5"))] for name in "ab")
    assert a == b and set(scarce.log) == {2}


def test_views_of_an_encoder_share_it_and_other_outputs_do_not() -> None:
    loaded = LoadedEncoders(ExtractOptions(device="cpu"))
    first = loaded.of(FakeSpec("image", ("pooled",)), 0)
    assert loaded.of(FakeSpec("image", ("pooled",)), 0) is first
    assert loaded.of(FakeSpec("image", ("pooled", "cls")), 0) is not first
    assert loaded.of(FakeSpec("image", ("pooled",), weights="w1"), 0) is not first


@dataclass(frozen=True)
class CountedSpec(FakeSpec):
    """A fake encoder that counts how often it is loaded."""

    loads: list[str] = field(default_factory=list, compare=False)

    def load(self, device: str, *, compile: bool = False) -> FakeEncoder:
        self.loads.append(device)
        return super().load(device)


@pytest.mark.parametrize("is_cuda", [False, True])
def test_what_is_foreseen_is_loaded_once_and_at_once_only_for_a_gpu(
    is_cuda: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.extraction.encoding.loaded.is_cuda", lambda device: is_cuda)
    spec = CountedSpec("image")
    loaded = LoadedEncoders(ExtractOptions(device="cpu"))
    loaded.foresee([spec, spec])
    assert len(spec.loads) == is_cuda and (loaded.load_seconds > 0) == is_cuda
    loaded.of(spec, 0)
    loaded.of(spec, 0)
    assert len(spec.loads) == 1 and loaded.load_seconds > 0
