"""Laws of the check of model texts: what LightGBM wrote passes, and nothing passes that it would choke on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from heads.errors import HeadsError
from heads.gbdt.lightgbm_text import check_model_text

N_FEATURES = 5


def train(n_classes: int, *, n: int = 200, **params: object) -> str:
    """Return the whole text of a small model; one class stands for ``binary``."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0 if n_classes > 1 else 0)
    kind = {"objective": "multiclass", "num_class": n_classes} if n_classes > 1 else {"objective": "binary"}
    fixed = {**kind, "num_leaves": 5, "verbosity": -1, "num_threads": 1, "deterministic": True, **params}
    return lgb.train(fixed, lgb.Dataset(X, y, params=fixed), num_boost_round=3).model_to_string()


TEXT = train(3)


def check(text: str) -> str:
    return check_model_text(text, N_FEATURES, n_classes=3)


def mutate(pattern: str, replacement: str, *, tree: int = 1) -> str:
    """Replace in one tree, and mend ``tree_sizes``, so that only the tree itself is wrong."""
    head, *blocks = re.split(r"(?=Tree=\d+\n)", TEXT.partition("end of trees")[0])
    blocks[tree], count = re.subn(pattern, replacement, blocks[tree], count=1)
    assert count == 1, pattern
    sizes = " ".join(str(len(block)) for block in blocks)
    return re.sub("tree_sizes=.*", f"tree_sizes={sizes}", head) + "".join(blocks) + "end of trees\n"


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("n", [200, 12])
def test_what_lightgbm_wrote_passes_and_predicts_the_same(n_classes: int, n: int) -> None:
    text = train(n_classes, n=n)
    checked = check_model_text(text, N_FEATURES, n_classes=n_classes)
    X = np.random.default_rng(1).normal(size=(50, N_FEATURES))
    whole, part = lgb.Booster(model_str=text), lgb.Booster(model_str=checked)
    np.testing.assert_array_equal(whole.predict(X, num_threads=1), part.predict(X, num_threads=1))
    assert checked.endswith("end of trees\n") and text.startswith(checked)
    assert check_model_text(checked, N_FEATURES, n_classes=n_classes) == checked


def test_what_follows_the_trees_never_reaches_lightgbm() -> None:
    assert check(TEXT + "parameters:\n[verbosity: 9]\npandas_categorical:[[1]]\n") == check(TEXT)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"left_child=\S+", "left_child=99", "child 99 of node 0 is out of range"),
        (r"right_child=\S+", "right_child=-6", "child -6 of node 0 is out of range"),
        (r"left_child=\S+", "left_child=0", "child 0 of node 0 does not come after it: a cycle"),
        (r"(left_child=\S+ \S+) \S+", r"\1 1", "child 1 of node 2 does not come after it: a cycle"),
        (r"left_child=\S+ \S+", "left_child=2 2", "node 2 is the child of two nodes"),
        (r"left_child=\S+( \S+ \S+ )\S+\nright_child=\S+", r"left_child=-1\1-1\nright_child=-1", "two nodes"),
        (r"split_feature=\S+", "split_feature=5", "split_feature 5, expected 0 to 4"),
        (r"split_feature=\S+", "split_feature=-1", "split_feature -1, expected 0 to 4"),
        (r"split_feature=\S+ ", "split_feature=", "split_feature is .* expected 4 whole numbers"),
        (r"split_feature=\S+", "split_feature=99999999999", "expected 4 whole numbers"),
        (r"split_feature=\S+", "split_feature=4294967296", "split_feature is 4294967296, expected a whole number from"),
        (r"num_leaves=5", "num_leaves=6", "expected 6 finite numbers"),
        (r"num_leaves=5", "num_leaves=4", "expected 4 finite numbers"),
        (r"num_leaves=5", "num_leaves=1", "expected 1 finite numbers"),
        (r"num_leaves=5", "num_leaves=0", "num_leaves is 0"),
        (r"num_leaves=5", "num_leaves=2000000000", "num_leaves is 2000000000, expected a whole number from 1 to 65536"),
        (r"num_leaves=5\n", "", "num_leaves is missing"),
        (r"num_leaves=5\n", "num_leaves=5\nnum_leaves=5\n", "unexpected line 'num_leaves=5'"),
        (r"num_leaves=5\n", "num_leaves=5\n\n", "unexpected line ''"),
        (r"leaf_value=\S+", "leaf_value=nan", "expected 5 finite numbers"),
        (r"leaf_value=\S+", "leaf_value=-inf", "expected 5 finite numbers"),
        (r"leaf_value=\S+", "leaf_value=1e999", "finite"),
        (r"leaf_value=\S+", "leaf_value=1e+999", "leaf_value is inf, expected a finite number"),
        (r"leaf_value=\S+", "leaf_value=1e+40", "leaf_value is 1e.40, expected a number from -1e"),
        (r"leaf_value=\S+", "leaf_value=0x10", "expected 5 finite numbers"),
        (r"leaf_value=\S+ ", "leaf_value=", "expected 5 finite numbers"),
        (r"threshold=\S+", "threshold=nan", "expected 4 finite numbers"),
        (r"threshold=\S+ ", "threshold=", "expected 4 finite numbers"),
        (r"num_cat=0", "num_cat=1", "categorical splits and linear leaves"),
        (r"num_cat=0\n", "num_cat=0\ncat_boundaries=0 1\n", "unexpected line 'cat_boundaries"),
        (r"is_linear=0", "is_linear=1", "categorical splits and linear leaves"),
        (r"is_linear=0\n", "is_linear=0\nleaf_const=1 1 1 1 1\n", "unexpected line 'leaf_const"),
        (r"decision_type=\S+", "decision_type=1", "decision_type 1 is not"),
        (r"decision_type=\S+", "decision_type=12", "decision_type 12 is not"),
        (r"shrinkage=\S+", "shrinkage=inf", "expected 1 finite numbers"),
        (r"leaf_count=\S+", "leaf_count=1.5", "leaf_count is"),
        (r"Tree=1", "Tree=7", "tree_sizes says"),
    ],
)
def test_a_broken_tree_is_refused_by_number(pattern: str, replacement: str, message: str) -> None:
    with pytest.raises(HeadsError, match=f"tree 1.*{message}"):
        check(mutate(pattern, replacement))


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^tree\n", "", "does not begin"),
        (r"version=v4", "version=v3", "version is 'v3'"),
        (r"num_class=3", "num_class=4", "num_class is '4', expected '3'"),
        (r"num_tree_per_iteration=3", "num_tree_per_iteration=1", "num_tree_per_iteration is '1'"),
        (r"max_feature_idx=4", "max_feature_idx=400", "max_feature_idx is '400', expected '4'"),
        (r"objective=multiclass num_class:3", "objective=regression", "objective is 'regression'"),
        (r"objective=multiclass num_class:3", "objective=multiclass num_class:9", "objective is"),
        (r"objective=.*\n", "", "objective is missing"),
        (r"feature_names=Column_0", "feature_names=", "feature_names is"),
        (r"feature_infos=\S+", "feature_infos=0:1:2", "feature_infos is not 5 ranges"),
        (r"feature_infos=\S+ ", "feature_infos=", "feature_infos is not 5 ranges"),
        (r"label_index=0\n", "label_index=0\naverage_output\n", "unexpected line 'average_output'"),
        (r"label_index=0\n", "label_index=0\nmonotone_constraints=1 1 1 1 1\n", "unexpected line 'monotone"),
        (r"tree_sizes=\S+", "tree_sizes=5", "tree 0: tree_sizes says 5"),
        (r"tree_sizes=\S+", "tree_sizes=-5", "tree_sizes holds -5"),
        (r"tree_sizes=\S+ ", "tree_sizes=", "8 trees, expected a multiple of 3"),
        (r"tree_sizes=.*", "tree_sizes=", "expected 1 whole numbers"),
        (r"end of trees", "end", "has no 'end of trees' after its 9 trees"),
        (r"Tree=0\n", "Tree=0\r\n", r"has the character '\\r'"),
        (r"Tree=0\n", "Tree=0\0\n", r"has the character '\\x00'"),
        (r"Column_1", "Column_é", "printable ASCII"),
    ],
)
def test_a_broken_header_is_refused(pattern: str, replacement: str, message: str) -> None:
    text, count = re.subn(pattern, replacement, TEXT, count=1)
    assert count == 1
    with pytest.raises(HeadsError, match=message):
        check(text)


def test_a_model_of_other_rows_or_classes_is_refused() -> None:
    for n_features, n_classes in ((4, 3), (6, 3), (5, 2), (5, 1)):
        with pytest.raises(HeadsError, match="header"):
            check_model_text(TEXT, n_features, n_classes=n_classes)
    with pytest.raises(HeadsError, match="objective is 'regression'"):
        check_model_text(train(1, objective="regression"), N_FEATURES, n_classes=1)


@pytest.mark.parametrize(("linear", "categories"), [(True, []), (False, [2])])
def test_models_of_other_trees_are_refused(linear: bool, categories: list[int]) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, N_FEATURES))
    X[:, 2] = rng.integers(0, 4, 300)
    fixed = {"objective": "binary", "verbosity": -1, "num_threads": 1, "linear_tree": linear}
    y = (X[:, 2] == 1) ^ (X[:, 0] > 0)
    data = lgb.Dataset(X, y, params=fixed, categorical_feature=categories)
    text = lgb.train(fixed, data, num_boost_round=2).model_to_string()
    with pytest.raises(HeadsError, match=r"unsupported|unexpected line"):
        check_model_text(text, N_FEATURES, n_classes=1)


def test_a_long_text_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.gbdt.lightgbm_text._MAX_CHARS", len(TEXT) - 1)
    with pytest.raises(HeadsError, match="characters, expected at most"):
        check(TEXT)


FUZZ = """
import random, re, sys
import lightgbm as lgb, numpy as np
from pathlib import Path
from heads.errors import HeadsError
from heads.gbdt.lightgbm_text import check_model_text

text, rng, accepted = Path(sys.argv[1]).read_text(), random.Random(0), 0
X = np.random.default_rng(0).normal(size=(20, 5)) * 3
numbers = ["0", "-1", "1", "2", "-5", "-6", "5", "99", "1e300", "-1e+29", "nan", "2147483648", "", " ", "0.5"]
for step in range(int(sys.argv[2])):
    head, *blocks = re.split(r"(?=Tree=[0-9]+\\n)", text)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(blocks))
        block = blocks[place]
        if rng.random() < 0.7:  # a number of a tree
            spans = [m.span() for m in re.finditer(r"(?<=[= ])[^ =\\n]+", block)]
            start, stop = rng.choice(spans)
            new = rng.choice(numbers + [block[slice(*rng.choice(spans))]] * 8)
        else:  # some characters of it
            start = rng.randrange(len(block))
            stop = min(len(block), start + rng.randrange(3))
            new = rng.choice(["", "\\n", "=", " ", "-", "7", "e", "Tree=1\\n"])
        blocks[place] = block[:start] + new + block[stop:]
    ends = blocks[-1].find("end of trees")
    sizes = [len(b) for b in blocks[:-1]] + [ends if ends > 0 else len(blocks[-1])]
    if rng.random() < 0.9:
        head = re.sub("tree_sizes=.*", "tree_sizes=" + " ".join(map(str, sizes)), head)
    try:
        checked = check_model_text(head + "".join(blocks), 5, n_classes=3)
    except HeadsError:
        continue
    accepted += 1
    assert np.isfinite(lgb.Booster(model_str=checked).predict(X, num_threads=1)).all(), step
print(accepted)
"""


def fuzz(path: Path, steps: int) -> int:
    """Mutate a real text in another process, and return how many mutants passed the check and predicted."""
    path.write_text(TEXT)
    command = [sys.executable, "-W", "error", "-c", FUZZ, str(path), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout)


@pytest.mark.slow
def test_a_mutant_is_refused_or_predicts_finite_values(tmp_path: Path) -> None:
    assert 30 < fuzz(tmp_path / "model.txt", 400) < 370


@pytest.mark.slow
def test_many_mutants_are_refused_or_predict_finite_values(tmp_path: Path) -> None:
    assert fuzz(tmp_path / "model.txt", 20_000) > 1000
