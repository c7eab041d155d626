"""Laws of detection: one picture gets what its row of a cache would get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heads.runs.detection
from featcache import FeatureStore
from featcache.synthetic import write_synthetic
from heads.errors import HeadsError
from heads.runs.detection import PictureJudge, Verdict, model_place
from heads.runs.judge_options import JudgeOptions
from heads.runs.predictions import predict
from heads.runs.record import Producer
from heads.runs.run import Run
from heads.verdicts.sets import GeneratorSets
from tests.heads.synthetic import train_run, write_cache


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("detect") / "cache")


@pytest.fixture(scope="module")
def both(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("detect") / "both", fusion="concat", head="linear")


@pytest.fixture(scope="module")
def image_only(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("detect") / "image", fusion="image", head="linear")


@dataclass(frozen=True)
class FakeEncoder:
    """Knows one vector of each content by heart, and writes down what it was asked for."""

    call: Mapping[str, Any]
    vector: Callable[[Any], Any]
    contents: list[Any]

    def encode(self, content: Any) -> Any:
        self.contents.append(content)
        return self.vector(content)


@pytest.fixture
def encoders(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> list[FakeEncoder]:
    """The encoders that are loaded: they know the contents of the cache."""
    arrays = store.arrays()
    loaded: list[FakeEncoder] = []

    def load(document: Mapping[str, Any], **options: Any) -> FakeEncoder:
        modality = document["identity"]["modality"]

        def vector(content: Any) -> Any:
            name = content.decode().split(" ", 1)[1] if modality == "image" else f"{content.replace(' caption ', '-')}"
            rows = np.char.startswith(arrays.sample_id, name if modality == "image" else _padded(name))
            return arrays.features[modality][np.flatnonzero(rows)[0]]

        loaded.append(FakeEncoder({"modality": modality, "document": document, **options}, vector, []))
        return loaded[-1]

    monkeypatch.setattr(heads.runs.detection, "load_encoder", load)
    return loaded


def detect(run: Run, image: bytes | None, caption: str | None = None) -> Verdict:
    return PictureJudge(run).judge(image, caption)


def _padded(name: str) -> str:
    split, number = name.split("-")
    return f"{split}-{int(number):03d}"


@pytest.mark.slow
def test_the_verdict_is_that_of_the_row(
    both: Run, image_only: Run, store: FeatureStore, encoders: list[FakeEncoder]
) -> None:
    for run in (both, image_only):
        rows = predict(run, store, "test")
        columns = rows.table()
        for index in (0, 1, 17, 95):
            sample_id = str(rows.sample_id[index])
            caption = f"test caption {int(sample_id.split('-')[1])}"
            found = detect(run, f"0 {sample_id}".encode(), caption=caption)
            assert found.verdict == columns["pred_a"][index]
            assert (found.generator or "real") == columns["pred_b"][index]
            assert found.p_ai == pytest.approx(columns["p_ai"][index], abs=1e-6)
            assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-6)
            assert (found.verdict == "ai") == (found.p_ai >= found.threshold)


def test_a_picture_has_the_novelty_of_its_row(
    image_only: Run, store: FeatureStore, encoders: list[FakeEncoder]
) -> None:
    rows = predict(image_only, store, "test").table()
    found = detect(image_only, f"0 {rows['sample_id'][3]}".encode())
    assert found.novelty == rows["novelty"][3] and not found.is_unlike
    assert image_only.likeness is not None
    novelty = replace(image_only.likeness.novelty, held_out=np.zeros(200, np.float32))
    strict = replace(image_only, likeness=replace(image_only.likeness, novelty=novelty))
    judge = PictureJudge(strict, options=JudgeOptions(abstain_novel=True))
    careful = judge.judge(b"0 test-000-sdxl")
    assert (careful.verdict, careful.reason) == ("unsure", "unlike the training pictures")
    assert detect(strict, b"0 test-000-sdxl").is_unlike and detect(strict, b"0 test-000-sdxl").verdict == "ai"
    assert detect(replace(image_only, likeness=None), b"0 test-000-sdxl").novelty is None


def test_where_a_run_has_sets_a_picture_has_one(image_only: Run, encoders: list[FakeEncoder]) -> None:
    sets = GeneratorSets(0.9, (0.0, *(1.0,) * 4), (9,) * 5, "row", "clean", "d", "valid")
    record = replace(image_only.record, verdicts=replace(image_only.record.verdicts, sets=sets))
    found = detect(replace(image_only, record=record), b"0 test-000-sdxl")
    assert found.set_b == ("sd21", "sdxl") and found.to_dict()["set_b"] == ("sd21", "sdxl")
    assert detect(image_only, b"0 test-000-sdxl").set_b is None


def test_a_missing_caption_names_the_fusion_that_would_do(both: Run, encoders: list[FakeEncoder]) -> None:
    for caption in (None, "", "  "):
        with pytest.raises(HeadsError, match=r"needs a caption .*--fusion image"):
            detect(both, b"0 test-000-real", caption=caption)
    assert encoders == []  # refused before any model is loaded


def test_a_missing_picture_is_refused(image_only: Run) -> None:
    with pytest.raises(HeadsError, match="needs a picture"):
        detect(image_only, None, caption="x")


def test_the_encoder_gets_the_document_and_the_options(both: Run, encoders: list[FakeEncoder]) -> None:
    judge = PictureJudge(both.in_view("jpeg:30"), models={"image": "elsewhere"}, device="cpu")
    found = judge.judge(b"0 test-000-real", "test caption 0")
    by_name = {encoder.call["modality"]: encoder.call for encoder in encoders}
    assert by_name["image"]["model"] == "elsewhere"
    assert by_name["text"]["model"] is None
    assert by_name["image"]["outputs"] == ("pooled",)
    assert {call["device"] for call in by_name.values()} == {"cpu"}
    for modality, call in by_name.items():
        assert call["document"] == both.record.producers[modality].document
    assert {modality: call["view"] for modality, call in by_name.items()} == {"image": "jpeg:30", "text": "clean"}
    assert found.models == {"text": "synthetic/text", "image": "elsewhere"}


def test_an_image_head_does_not_encode_the_caption(image_only: Run, encoders: list[FakeEncoder]) -> None:
    detect(image_only, b"0 test-000-real", caption="anything")
    assert [encoder.call["modality"] for encoder in encoders] == ["image"]


def test_several_pictures_are_judged_by_encoders_that_are_loaded_once(both: Run, encoders: list[FakeEncoder]) -> None:
    judge = PictureJudge(both)
    names = ("test-000-real", "test-001-sdxl", "test-000-sd21")
    several = [judge.judge(f"0 {name}".encode(), f"test caption {int(name[5:8])}") for name in names]
    assert sorted(encoder.call["modality"] for encoder in encoders) == ["image", "text"]
    alone = [detect(both, f"0 {name}".encode(), f"test caption {int(name[5:8])}") for name in names]
    assert several == alone and several[0] != several[1]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"path": "/m", "model": "a/b"}, "/m"),
        ({"model": "a/b", "revision": "abc"}, "a/b@abc"),
        ({"model": "a/b"}, "a/b"),
        (None, "?"),
    ],
)
def test_the_place_of_a_model_is_its_folder_or_its_id(both: Run, source: object, place: str) -> None:
    selection = both.selections["image"]
    assert model_place(Producer(selection, {"source": source})) == place


def test_a_head_without_generators_says_ai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_cache(tmp_path / "cache", generators=("sdxl",))
    run = train_run(store, tmp_path / "run", head="linear")
    vector = store.arrays("test").features["image"][1]
    monkeypatch.setattr(heads.runs.detection, "load_encoder", lambda *_, **__: FakeEncoder({}, lambda _: vector, []))
    found = detect(run, b"x")
    assert (found.verdict, found.generator) == ("ai", None)
    assert found.probabilities.keys() == {"real", "ai"}


def test_spectral_vectors_are_made_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_synthetic(tmp_path / "cache", captions={"train": 30, "valid": 16, "test": 4})
    run = train_run(data.store, tmp_path / "run", head="linear", fusion="image-spectral")
    vectors = data.store.arrays("test").features
    seen: list[tuple[str, tuple[str, ...], list[Any]]] = []

    def load(document: Mapping[str, Any], *, outputs: tuple[str, ...], **_: Any) -> FakeEncoder:
        modality = document["identity"]["modality"]
        seen.append((modality, outputs, []))
        return FakeEncoder({}, lambda _: vectors[modality][1], seen[-1][2])

    monkeypatch.setattr(heads.runs.detection, "load_encoder", load)
    found = detect(run, b"picture")
    assert seen == [("image", ("pooled",), [b"picture"]), ("spectral", ("radial",), [b"picture"])]
    assert found.p_ai == pytest.approx(predict(run, data.store, "test").table()["p_ai"][1], abs=1e-6)
    with pytest.raises(HeadsError, match=r"needs a picture .*--fusion text"):
        detect(run, None, caption="x")
