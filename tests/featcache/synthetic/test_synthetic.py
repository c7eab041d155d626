"""Laws of the synthetic store: what it says of itself is true of its rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.cache.folder import Cache
from featcache.cache.index import all_shard_paths
from featcache.cache.shard import read_shard
from featcache.cache.shard_digests import verify_shard
from featcache.errors import FeatcacheError
from featcache.store.selection import Selection
from featcache.synthetic import SyntheticOutput, SyntheticRecipe, SyntheticView, write_synthetic
from featcache.synthetic.gaussian import GaussianClasses
from featcache.synthetic.sparse import write_sparse_store

VIEWS = {"blur:1": SyntheticView(shift=2.0, keep=0.7, noise=0.5)}


def selections(recipe: SyntheticRecipe, view: str = "clean", **outputs: str) -> dict[str, Selection]:
    """Selections of one output a modality, without a store."""
    return {
        modality: Selection(modality, "0" * 64, view, (name,), (recipe.outputs[modality][name].width,))
        for modality, name in outputs.items()
    }


def test_every_caption_has_one_picture_of_each_maker(tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "c", captions={"train": 5, "test": 3})
    arrays = data.store.arrays()
    assert len(arrays) == 8 * 6
    assert data.store.splits == ("train", "test")
    assert data.store.modalities == ("text", "image", "spectral")
    for group in np.unique(arrays.group):
        rows = arrays.group == group
        assert sorted(arrays.label_b[rows]) == list(range(6))
        assert len(np.unique(arrays.keys["text"][rows], axis=0)) == 1
        assert len(np.unique(arrays.keys["image"][rows], axis=0)) == 6
    assert (arrays.label_a == (arrays.label_b > 0)).all()
    assert (arrays.label_b == data.truth).all()


def test_the_same_recipe_gives_the_same_vectors_and_another_output_changes_none(tmp_path: Path) -> None:
    image = {"pooled": SyntheticOutput(8, signal=2.0)}
    more = {**image, "layers:1": SyntheticOutput(8, signal=1.0)}
    found = [
        write_synthetic(tmp_path / str(i), outputs={"image": outputs}, views=views, captions={"train": 6})
        for i, (outputs, views) in enumerate(((image, {}), (image, {}), (more, VIEWS)))
    ]
    vectors = []
    for data in found:
        selection = data.store.select("image", outputs=("pooled",))
        vectors.append(data.store.arrays(selections={"image": selection}).features["image"])
    assert (vectors[0] == vectors[1]).all()
    assert (vectors[0] == vectors[2]).all()
    other = write_synthetic(tmp_path / "other", outputs={"image": image}, captions={"train": 6}, seed=1)
    assert (other.store.arrays().features["image"] != vectors[0]).all()


def test_the_shards_are_sound(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "c", views=VIEWS, captions={"train": 4})
    paths = list(all_shard_paths(Cache.open(tmp_path / "c")))
    assert len(paths) == 1 + 2 + 2  # text once, pictures and spectra in two views
    for path in paths:
        verify_shard(read_shard(path))


@pytest.mark.slow
@pytest.mark.parametrize("view", ["clean", "blur:1"])
def test_the_posterior_is_calibrated_and_reaches_the_bayes_score(tmp_path: Path, view: str) -> None:
    data = write_synthetic(tmp_path / "c", views=VIEWS, captions={"test": 3000})
    chosen = {
        "text": data.store.select("text", outputs=("cls",)),
        "image": data.store.select("image", outputs=("pooled",), view=view),
    }
    arrays = data.store.arrays("test", selections=chosen)
    proba = data.recipe.bayes_proba(arrays.features, chosen)
    assert np.allclose(proba.sum(axis=1), 1)
    best = data.recipe.bayes_scores(chosen)
    # 18,000 rows: three standard errors of a mean are below 0.012.
    is_ai = data.truth > 0
    accuracy = (proba[is_ai, 1:].argmax(axis=1) == data.truth[is_ai] - 1).mean()
    assert best.b_accuracy is not None
    assert accuracy == pytest.approx(best.b_accuracy, abs=0.012)
    recall = [((1 - proba[:, 0] >= 5 / 6) == ai)[is_ai == ai].mean() for ai in (True, False)]
    assert np.mean(recall) == pytest.approx(best.a_balanced_accuracy, abs=0.012)
    for k in range(6):
        assert proba[:, k].mean() == pytest.approx((data.truth == k).mean(), abs=0.012)
        likely = proba[:, k] > 0.8
        assert (data.truth[likely] == k).mean() == pytest.approx(proba[likely, k].mean(), abs=0.04)


def test_text_alone_is_at_chance_and_helps_beside_the_picture() -> None:
    recipe = SyntheticRecipe()
    text = recipe.bayes_scores(selections(recipe, text="cls"))
    image = recipe.bayes_scores(selections(recipe, image="pooled"))
    both = recipe.bayes_scores(selections(recipe, text="cls", image="pooled"))
    assert text.a_auc == pytest.approx(0.5, abs=0.005)
    assert text.a_balanced_accuracy_at_half == 0.5
    assert image.a_auc + 0.02 < both.a_auc
    proba = recipe.bayes_proba({"text": np.zeros((2, 12))}, selections(recipe, text="cls"))
    assert np.allclose(proba, 1 / 6)


def test_without_shared_content_text_adds_nothing() -> None:
    outputs = {"text": {"cls": SyntheticOutput(5, content=0.0)}, "image": {"pooled": SyntheticOutput(9, signal=2.0)}}
    recipe = SyntheticRecipe(outputs=outputs)
    X = {"text": np.ones((3, 5)), "image": np.random.default_rng(0).standard_normal((3, 9))}
    both = recipe.bayes_proba(X, selections(recipe, text="cls", image="pooled"))
    assert np.allclose(both, recipe.bayes_proba(X, selections(recipe, image="pooled")))


def test_layers_and_views_differ_in_what_they_tell() -> None:
    recipe = SyntheticRecipe(views=VIEWS)
    auc = [recipe.bayes_scores(selections(recipe, image=f"layers:{k}")).a_auc for k in (1, 2, 3)]
    assert auc[0] < auc[2] < auc[1]
    perturbed = recipe.bayes_scores(selections(recipe, "blur:1", image="pooled"))
    assert perturbed.a_auc < recipe.bayes_scores(selections(recipe, image="pooled")).a_auc


def test_two_classes_agree_with_the_closed_form() -> None:
    """For two Gaussians at distance D the error of either class is Phi(-D / 2), and the AUC is Phi(D / sqrt(2))."""
    distance, d = 1.5, 7
    covariance = np.random.default_rng(0).standard_normal((d, 3))
    direction = np.random.default_rng(1).standard_normal(d)
    full = np.diag(np.full(d, 0.5)) + covariance @ covariance.T
    direction *= distance / math.sqrt(direction @ np.linalg.solve(full, direction))
    means = np.stack([np.zeros(d), direction])
    model = GaussianClasses(means, np.full(d, 0.5), covariance, np.array([0.5, 0.5]))
    found = model.scores(n_draws=400_000)

    def phi(x: float) -> float:
        return (1 + math.erf(x / math.sqrt(2))) / 2

    assert found.a_balanced_accuracy == pytest.approx(phi(distance / 2), abs=0.003)
    assert found.a_auc == pytest.approx(phi(distance / math.sqrt(2)), abs=0.003)
    assert found.b_accuracy is None


def test_the_posterior_is_bayes_rule() -> None:
    recipe = SyntheticRecipe(views=VIEWS)
    chosen = selections(recipe, "blur:1", image="pooled") | selections(recipe, spectral="radial")
    model = recipe.model(chosen)
    covariance = np.diag(model.variance) + model.loadings @ model.loadings.T
    X = np.random.default_rng(2).standard_normal((5, len(model.variance))) * 2
    logs = np.empty((5, 6))
    for k, mean in enumerate(model.means):
        deviation = X - mean
        logs[:, k] = -0.5 * np.einsum("ij,ij->i", deviation, np.linalg.solve(covariance, deviation.T).T)
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    assert np.allclose(model.posterior(X), odds / odds.sum(axis=1, keepdims=True))


def test_label_noise_and_gaps_have_the_shares_that_were_asked_for(tmp_path: Path) -> None:
    data = write_synthetic(
        tmp_path / "c",
        captions={"train": 500, "test": 500},
        label_noise={"train": 0.3},
        missing={"text": 0.2, "image": 0.1},
        unlabelled=0.1,
    )
    arrays = data.store.arrays()
    known = arrays.label_a >= 0
    assert known.mean() == pytest.approx(0.9, abs=0.02)
    is_wrong = known & (arrays.label_b != data.truth)
    assert is_wrong[arrays.split == "train"].mean() == pytest.approx(0.27, abs=0.03)
    assert not is_wrong[arrays.split == "test"].any()
    assert (~arrays.present["text"]).mean() == pytest.approx(0.2, abs=0.03)
    assert (~arrays.present["image"]).mean() == pytest.approx(0.1, abs=0.02)
    assert (arrays.present["image"] == arrays.present["spectral"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generators": ()}, "one or more"),
        ({"generators": ("real",)}, "none 'real'"),
        ({"captions": {"dev": 3}}, "expected some of train"),
        ({"outputs": {"text": {"cls": SyntheticOutput(3, signal=1.0)}}}, "one text serves all classes"),
        ({"unlabelled": 1.5}, "expected 0 to 1"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FeatcacheError, match=message):
        SyntheticRecipe(**changes)


def test_an_unknown_view_is_refused() -> None:
    recipe = SyntheticRecipe(views=VIEWS)
    with pytest.raises(FeatcacheError, match="'blur:9' is none of clean, blur:1"):
        recipe.bayes_scores(selections(recipe, "blur:9", image="pooled"))


def test_a_sparse_store_is_large_and_takes_hardly_any_disk(tmp_path: Path) -> None:
    store = write_sparse_store(tmp_path / "c", 10_001, widths={"pooled": 512, "cls": 512}, shard_rows=4096)
    paths = [path for path in (tmp_path / "c").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in paths) > 10_001 * 2048
    assert sum(path.stat().st_blocks * 512 for path in paths) < 10_001 * 300
    arrays = store.read(np.array([0, 5000, 10_000]))
    assert arrays.sample_id.tolist() == ["00000", "05000", "10000"]
    assert arrays.present["image"].all()
    assert not arrays.features["image"].any()
    assert sorted(np.unique(store.samples.split)) == ["train", "valid"]
    assert set(np.unique(store.samples.label_b)) == {0, 1, 2}
