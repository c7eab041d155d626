"""What is proposed next can be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.cache.folder import Cache
from featcache.extraction.run import ExtractOptions, extract
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import next_steps

from factories import FakeSpec, make_cache, read_manifest, write_dataset

IMAGE = FakeSpec("image")


def proposed(folder: Path, views: str = "clean", spec: FakeSpec = IMAGE, **columns: list[str]) -> str:
    """Return what is proposed for a cache of some pictures."""
    n = len(columns["split"]) // 3
    manifest = read_manifest(write_dataset(folder / "d", n_captions=n, **columns))
    made = make_cache(folder / "c")
    extract(manifest, made, [spec], views=views, options=ExtractOptions(batch_size=4))
    return " ".join(" ".join(step.command) for step in next_steps(cache_status(Cache.open(made.path))))


@pytest.mark.parametrize(
    ("splits", "is_trainable"),
    [
        (["train", "train", "train", "valid", "valid", "valid"], True),
        (["train", "train", "valid", "train", "train", "test"], True),
        (["train"] * 6, False),
        (["train", "train", "train", "test", "test", "test"], False),
        (["valid", "train", "train", "test", "train", "train"], False),
    ],
)
def test_a_head_is_proposed_where_one_can_be_fitted(splits: list[str], is_trainable: bool, tmp_path: Path) -> None:
    command = proposed(tmp_path, split=splits, group=[str(i) for i in range(6)])
    assert command.startswith(f"heads train {tmp_path / 'c'} --fusion image" if is_trainable else "featcache export ")


def test_a_view_is_named_where_there_is_no_clean_one(tmp_path: Path) -> None:
    assert " --view hflip --fusion image" in proposed(tmp_path / "a", "hflip,jpeg:75", split=["train", "valid"] * 3)
    assert "--view" not in proposed(tmp_path / "b", "clean,hflip", split=["train", "valid"] * 3)


def test_a_view_is_named_that_everything_has(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    made = make_cache(tmp_path / "c")
    spectral = FakeSpec("spectral", width=3)
    for spec, views in ((IMAGE, "clean,hflip"), (spectral, "hflip")):
        extract(manifest, made, [spec], views=views, options=ExtractOptions(batch_size=4))
    (step,) = next_steps(cache_status(Cache.open(made.path)))
    assert step.command[3:7] == ("--view", "hflip", "--fusion", "image-spectral")


def test_outputs_are_named_where_none_is_taken_by_itself(tmp_path: Path) -> None:
    several = FakeSpec("image", outputs=("mean", "cls"))
    named = proposed(tmp_path / "a", spec=several, split=["train", "valid"] * 3)
    assert named.endswith("--image-outputs cls,mean --fusion image")
    only = proposed(tmp_path / "b", spec=FakeSpec("image", outputs=("mean",)), split=["train", "valid"] * 3)
    assert "--image-outputs" not in only
