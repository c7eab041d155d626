from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featcache.errors import FeatcacheError, FingerprintMismatch, ShardError
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore

from factories import FakeSpec, make_cache, read_manifest, write_dataset


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", ("pooled", "cls"))]
    options = ExtractOptions(device="cpu", unit_rows=4)
    extract(read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c"), specs, options=options)
    return open_store(tmp_path / "c")


def test_gather_returns_rows_in_the_order_asked_for(store: FeatureStore) -> None:
    everything = store.arrays()
    order = np.random.default_rng(0).permutation(len(store))
    some = store.gather(everything.sample_id[order].tolist())
    for modality in ("text", "image"):
        np.testing.assert_array_equal(some.features[modality], everything.features[modality][order])
    np.testing.assert_array_equal(some.label_b, everything.label_b[order])
    assert some.sample_id.tolist() == everything.sample_id[order].tolist()


def test_rows_are_shown_in_one_line(store: FeatureStore) -> None:
    assert repr(store.arrays().select(np.arange(2))) == "Arrays(2 rows, columns: text 4, image 4)"


def test_gather_of_an_unknown_sample_names_it(store: FeatureStore) -> None:
    with pytest.raises(FeatcacheError, match=r"no sample 'zzz' \(1 unknown"):
        store.gather(["0-real", "zzz"])


def test_splits_partition_the_samples(store: FeatureStore) -> None:
    parts = [store.arrays(split).sample_id.tolist() for split in store.splits]
    assert sorted(name for part in parts for name in part) == sorted(store.sample_id.tolist()) and store.splits == (
        "train",
        "valid",
        "test",
    )
    with pytest.raises(FeatcacheError, match="no sample in split 'holdout'; it has: train, valid, test"):
        store.arrays("holdout")
    with pytest.raises(FeatcacheError, match="it has: train, valid, test; did you mean 'test'"):
        store.arrays("TST")


def test_labels_and_class_names_are_those_of_the_manifest(store: FeatureStore) -> None:
    arrays = store.arrays()
    assert arrays.class_names == ("real", "alpha", "beta")
    names = [arrays.class_names[b] for b in arrays.label_b]
    assert names == [s.split("-")[1] for s in arrays.sample_id]
    np.testing.assert_array_equal(arrays.label_a, (arrays.label_b > 0).astype(int))


def test_outputs_are_concatenated_in_the_order_of_the_selection(store: FeatureStore) -> None:
    single = [store.arrays(selections={"image": store.select("image", outputs=[o])}) for o in ("cls", "pooled")]
    both = store.arrays(selections={"image": store.select("image", outputs=["cls", "pooled"])})
    np.testing.assert_array_equal(both.features["image"], np.hstack([s.features["image"] for s in single]))


def test_the_standard_output_is_the_default(store: FeatureStore) -> None:
    assert store.select("image").outputs == ("pooled",) and store.select("text").outputs == ("cls",)


def test_an_unknown_output_is_refused_with_those_there_are(store: FeatureStore) -> None:
    with pytest.raises(FeatcacheError, match=r"has no output 'mean'; it has: cls, pooled"):
        store.select("image", outputs=["mean"])
    with pytest.raises(FeatcacheError, match=r"image encoder 'clip' fits 0, expected exactly one"):
        store.select("image", encoder="clip")
    with pytest.raises(FeatcacheError, match="has no sound features"):
        store.select("sound")


def test_check_names_the_field_in_which_the_producer_differs(store: FeatureStore) -> None:
    selection = store.select("image")
    store.check(selection, store.document(selection.fingerprint))
    other = FakeSpec("image", weights="w9").fingerprint
    wanted = type(selection)("image", other.digest, "clean", ("pooled",), (4,))
    with pytest.raises(FingerprintMismatch, match=r"model.weights: 'w9' → 'w0'; encode with the expected model"):
        store.check(wanted, other.to_document())
    narrow = type(selection)("image", selection.fingerprint, "clean", ("pooled",), (5,))
    with pytest.raises(FingerprintMismatch, match=r"has 4 columns .* expected 5"):
        store.check(narrow, store.document(selection.fingerprint))


def test_a_store_survives_pickling_and_reads_the_same(store: FeatureStore) -> None:
    before = store.arrays()
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.arrays().features["image"], before.features["image"])


def test_torch_batches_equal_gathered_rows(store: FeatureStore) -> None:
    from torch.utils.data import DataLoader

    dataset = store.torch_dataset("train")
    loaded = list(DataLoader(dataset, batch_size=5))
    image = np.concatenate([batch["image"].numpy() for batch in loaded])
    expected = store.arrays("train")
    np.testing.assert_array_equal(image, expected.features["image"])
    assert np.concatenate([b["label_b"].numpy() for b in loaded]).tolist() == expected.label_b.tolist()
    assert dataset[3]["text"].numpy().tolist() == expected.features["text"][3].tolist()


READER = """
import sys
import numpy as np
class Refuses:
    def find_spec(self, name, *_):
        top = name.partition(".")[0]
        if top not in {"featcache", "h5py", "numpy"} | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuses())
import featcache
store = featcache.open_store(sys.argv[1], check=True)
train = store.arrays("train")
few = store.gather(train.sample_id[::-1].tolist())
assert np.array_equal(few.features["image"], train.features["image"][::-1], equal_nan=True)
for shuffle in (None, "global", "block"):
    parts = [part.sample_id for part in store.batches("train", batch_size=4, shuffle=shuffle, seed=0)]
    assert sorted(np.concatenate(parts)) == sorted(train.sample_id)
assert [str(view) for view in featcache.expand_views("clean,jpeg:075")] == ["clean", "jpeg:75"]
print(train.features["image"].tolist())
"""


def test_reading_needs_numpy_and_h5py_only(store: FeatureStore) -> None:
    command = [sys.executable, "-W", "error", "-c", READER, str(store.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(store.arrays("train").features["image"].tolist())


def test_the_index_is_only_a_shortcut(store: FeatureStore) -> None:
    before = store.arrays().features["image"]
    index = store.path / "index.json"
    for damage in (index.unlink, lambda: index.write_text("{"), lambda: index.write_text('{"format_version": 1}')):
        damage()
        np.testing.assert_array_equal(open_store(store.path).arrays().features["image"], before)


def test_which_cache_and_data_set_is_meant_must_be_clear(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(FeatcacheError, match="does not exist"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(FeatcacheError, match="is no cache"):
        open_store(tmp_path)
    with pytest.raises(FeatcacheError, match="no data set 'x'; it has: d"):
        open_store(store.path, dataset="x")


def test_a_damaged_sample_table_is_refused(store: FeatureStore) -> None:
    path = store.cache.sample_path("d")
    data = bytearray(path.read_bytes())
    position = data.find(b"alpha")
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ShardError, match="was damaged"):
        open_store(store.path)


def test_a_producer_document_that_was_edited_is_refused(store: FeatureStore) -> None:
    path = next((store.path / "encoders").iterdir())
    path.write_text(path.read_text().replace('"w0"', '"w1"'))
    with pytest.raises(ShardError, match="was changed"):
        open_store(store.path).arrays()
