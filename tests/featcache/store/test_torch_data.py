from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore
from featcache.store.torch_data import FeatureDataset

from factories import FakeSpec, make_cache, read_manifest, write_dataset


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("torch")
    data = write_dataset(folder / "d", caption=["", *[f"caption {i // 3}" for i in range(1, 18)]])
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
    extract(read_manifest(data), make_cache(folder / "c"), specs, options=ExtractOptions(device="cpu", unit_rows=4))
    return open_store(folder / "c")


def columns(loader: DataLoader) -> dict[str, np.ndarray]:
    parts = list(loader)
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def check(found: dict[str, np.ndarray], store: FeatureStore, split: str | None) -> None:
    expected = store.arrays(split)
    np.testing.assert_array_equal(found["image"], expected.features["image"])
    np.testing.assert_array_equal(found["text"], expected.features["text"])
    np.testing.assert_array_equal(found["label_a"], expected.label_a)
    np.testing.assert_array_equal(found["label_b"], expected.label_b)
    assert found["sample_id"].tolist() == expected.sample_id.tolist()
    for modality, present in expected.present.items():
        np.testing.assert_array_equal(found[f"has_{modality}"], present)
    kinds = {name: array.dtype.kind for name, array in found.items() if name != "sample_id"}
    assert kinds == {"image": "f", "text": "f", "label_a": "i", "label_b": "i", "has_image": "b", "has_text": "b"}
    assert found["image"].dtype == found["text"].dtype == np.float32


@pytest.mark.parametrize("collate", [None, FeatureDataset.collate])
def test_both_ways_of_collating_give_the_rows(store: FeatureStore, collate: object) -> None:
    check(columns(DataLoader(store.torch_dataset("train"), batch_size=5, collate_fn=collate)), store, "train")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "start", ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)]
)
def test_workers_read_the_same_rows_however_they_are_started(store: FeatureStore, start: str) -> None:
    dataset = store.torch_dataset()
    dataset[0]
    loader = DataLoader(
        dataset, batch_size=4, num_workers=2, multiprocessing_context=start, collate_fn=FeatureDataset.collate
    )
    check(columns(loader), store, None)


def test_a_worker_is_sent_places_not_vectors_keys_or_maps(store: FeatureStore) -> None:
    dataset = store.torch_dataset()
    before = dataset.__getitems__(range(len(dataset))).columns
    sent = pickle.dumps(dataset)
    assert store.samples.keys("image")[3].tobytes() not in sent
    after = pickle.loads(sent).__getitems__(range(len(dataset))).columns
    assert after.pop("sample_id") == before.pop("sample_id")
    for name, column in before.items():
        torch.testing.assert_close(after[name], column, rtol=0, atol=0, equal_nan=True)


def test_a_batch_is_a_sequence_of_items(store: FeatureStore) -> None:
    dataset = store.torch_dataset("train")
    batch = dataset.__getitems__([3, 0])
    assert len(batch) == len(list(batch)) == 2
    for item, i in zip(batch, (3, 0), strict=True):
        whole = dataset[i]
        assert item.pop("sample_id") == whole.pop("sample_id") == store.arrays("train").sample_id[i]
        for name, value in whole.items():
            torch.testing.assert_close(item[name], value, rtol=0, atol=0, equal_nan=True)


def test_an_item_says_which_sample_it_is_and_what_it_lacks(store: FeatureStore) -> None:
    dataset = store.torch_dataset()
    lacking = int(np.flatnonzero(~store.arrays().present["text"])[0])
    item = dataset[lacking]
    assert item["sample_id"] == store.arrays().sample_id[lacking]
    assert (bool(item["has_text"]), bool(item["has_image"])) == (False, True)
    assert item["text"].isnan().all()


def test_a_subset_collates_too(store: FeatureStore) -> None:
    subset = Subset(store.torch_dataset(), [4, 2, 9])
    (batch,) = DataLoader(subset, batch_size=3, collate_fn=FeatureDataset.collate)
    np.testing.assert_array_equal(batch["image"].numpy(), store.arrays().features["image"][[4, 2, 9]])


def test_items_of_other_makers_are_stacked(tmp_path: Path) -> None:
    collated = FeatureDataset.collate([{"x": torch.ones(2)}, {"x": torch.zeros(2)}])
    assert collated["x"].tolist() == [[1, 1], [0, 0]]
