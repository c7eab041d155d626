"""Check a LightGBM model text before LightGBM sees it: its own parser trusts the text and can crash or hang.

The grammar is read strictly (each key once, each list of the right length, each number plain decimal), so
that LightGBM cannot understand another model than the one that was checked. Written against LightGBM's
``src/io/tree.cpp`` and ``src/boosting/gbdt_model_text.cpp``, format v4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from heads.errors import HeadsError
from heads.files.ranges import FINITE, Range

__all__ = ["check_model_text", "decode_model_text"]

_MAX_CHARS = 256 * 2**20
_MAX_TREES = 1_000_000
_N_LEAVES = Range(int, 1, 65_536)
_WHOLE = Range(int, 1 - 2**31, 2**31 - 1)
_FINITE = Range(float, -FINITE, FINITE)
_LEAF_VALUE = Range(float, -1e30, 1e30)  # a sum of leaves stays far from overflow

_INT = r"-?\d{1,10}"
_FLOAT = r"-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]\d{1,3})?"
_INTS = re.compile(rf"{_INT}(?: {_INT})*")
_FLOATS = re.compile(rf"{_FLOAT}(?: {_FLOAT})*")
_INFO = rf"(?:none|\[{_FLOAT}:{_FLOAT}\])"
_INFOS = re.compile(rf"{_INFO}(?: {_INFO})*")
_FOREIGN = re.compile(r"[^\n -~]")
_FOREIGN_BYTE = re.compile(rb"[^\n -~]")

_HEADER = (
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "tree_sizes",
)
_DECISIONS = frozenset({0, 2, 4, 6, 8, 10})  # bit 0 categorical, bit 1 default left, bits 2-3 missing none/zero/NaN
_SPLIT_INTS = ("split_feature", "decision_type", "left_child", "right_child", "internal_count")
_SPLIT_FLOATS = ("split_gain", "threshold", "internal_value", "internal_weight")
_TREE = (
    "num_leaves",
    "num_cat",
    *_SPLIT_INTS,
    *_SPLIT_FLOATS,
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "is_linear",
    "shrinkage",
)


def decode_model_text(data: bytes) -> str:
    """Return untrusted bytes as the text that `check_model_text` takes; other bytes than those of ASCII are refused."""
    foreign = _FOREIGN_BYTE.search(data)
    if foreign:
        _refuse(f"has the byte {foreign[0]!r} at {foreign.start()}, expected printable ASCII")
    return data.decode("ascii")


def check_model_text(text: str, n_features: int, *, n_classes: int) -> str:
    """Check an untrusted model of numerical trees, and return the part of it to build a ``Booster`` from.

    Parameters
    ----------
    text : str
        What ``Booster.model_to_string`` returns.
    n_features : int
    n_classes : int
        LightGBM's ``num_class``, which is also its number of trees an iteration: 1 stands for the objective
        ``binary``, more for ``multiclass``.

    Returns
    -------
    str
        Header and trees, up to ``end of trees``. What follows (importances, parameters) is left out unread.

    Raises
    ------
    HeadsError
        Naming the tree and what is wrong with it.
    """
    if len(text) > _MAX_CHARS:
        _refuse(f"has {len(text)} characters, expected at most {_MAX_CHARS}")
    foreign = _FOREIGN.search(text)
    if foreign:
        _refuse(f"has the character {foreign[0]!r} at {foreign.start()}, expected printable ASCII")
    head, found, _ = text.partition("\n\nTree=0\n")
    if not found or not head.startswith("tree\n"):
        _refuse("does not begin with 'tree', a header and 'Tree=0'")
    header = _parse_lines(head.split("\n")[1:], _HEADER, where="header")
    sizes = _check_header(header, n_features, n_classes)
    place = len(head) + 2
    for number, size in enumerate(sizes):
        tree = text[place : place + size]
        if len(tree) != size or not tree.startswith(f"Tree={number}\n") or not tree.endswith("\n\n\n"):
            _refuse(f"tree {number}: tree_sizes says {size} characters, its block is another")
        lines = tree[:-3].split("\n")[1:]
        _check_tree(_parse_lines(lines, _TREE, where=f"tree {number}"), n_features, where=f"tree {number}")
        place += size
    end = "end of trees\n"
    if not text.startswith(end, place):
        _refuse(f"has no 'end of trees' after its {len(sizes)} trees")
    return text[: place + len(end)]


def _refuse(what: str) -> NoReturn:
    raise HeadsError(f"LightGBM model text {what}")


def _parse_lines(lines: list[str], keys: tuple[str, ...], *, where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or key not in keys or key in fields or "=" in value:
            _refuse(f"{where}: unexpected line {line[:60]!r}")
        fields[key] = value
    missing = [key for key in keys if key not in fields]
    if missing:
        _refuse(f"{where}: {missing[0]} is missing")
    return fields


def _check_header(header: dict[str, str], n_features: int, n_classes: int) -> list[int]:
    """Return the sizes of the trees."""
    expected = {
        "version": "v4",
        "num_class": f"{n_classes}",
        "num_tree_per_iteration": f"{n_classes}",
        "label_index": "0",
        "max_feature_idx": f"{n_features - 1}",
        "objective": "binary sigmoid:1" if n_classes == 1 else f"multiclass num_class:{n_classes}",
        "feature_names": " ".join(f"Column_{column}" for column in range(n_features)),
    }
    for key, value in expected.items():
        if header[key] != value:
            _refuse(f"header: {key} is {header[key][:60]!r}, expected {value[:60]!r}")
    infos = header["feature_infos"]
    if not _INFOS.fullmatch(infos) or infos.count(" ") != n_features - 1:
        _refuse(f"header: feature_infos is not {n_features} ranges of numbers: categories are unsupported")
    sizes = _parse_ints(header["tree_sizes"], header["tree_sizes"].count(" ") + 1, where="header: tree_sizes")
    if len(sizes) > _MAX_TREES or len(sizes) % n_classes:
        _refuse(f"header: {len(sizes)} trees, expected a multiple of {n_classes} up to {_MAX_TREES}")
    if min(sizes) < 1:
        _refuse(f"header: tree_sizes holds {min(sizes)}")
    return sizes


def _check_tree(tree: dict[str, str], n_features: int, *, where: str) -> None:
    if tree["num_cat"] != "0" or tree["is_linear"] != "0":
        _refuse(f"{where}: categorical splits and linear leaves are unsupported")
    (n_leaves,) = _parse_ints(tree["num_leaves"], 1, where=f"{where}: num_leaves")
    _N_LEAVES.check(n_leaves, f"LightGBM model text {where}: num_leaves")
    values = _parse_floats(tree["leaf_value"], n_leaves, where=f"{where}: leaf_value")
    _check_extremes(values, _LEAF_VALUE, where=f"{where}: leaf_value")
    _parse_floats(tree["shrinkage"], 1, where=f"{where}: shrinkage")
    if n_leaves == 1:
        for key in (*_SPLIT_INTS, *_SPLIT_FLOATS, "leaf_weight"):
            if tree[key]:
                _refuse(f"{where}: {key} is {tree[key][:40]!r} in a tree without splits")
        _parse_ints(tree["leaf_count"], 1, where=f"{where}: leaf_count")
        return
    _parse_floats(tree["leaf_weight"], n_leaves, where=f"{where}: leaf_weight")
    _parse_ints(tree["leaf_count"], n_leaves, where=f"{where}: leaf_count")
    for key in _SPLIT_FLOATS:
        _parse_floats(tree[key], n_leaves - 1, where=f"{where}: {key}")
    ints = {key: _parse_ints(tree[key], n_leaves - 1, where=f"{where}: {key}") for key in _SPLIT_INTS}
    for feature in ints["split_feature"]:
        if not 0 <= feature < n_features:
            _refuse(f"{where}: split_feature {feature}, expected 0 to {n_features - 1}")
    for decision in ints["decision_type"]:
        if decision not in _DECISIONS:
            _refuse(f"{where}: decision_type {decision} is not that of a numerical split")
    _check_children(ints["left_child"], ints["right_child"], where=where)


def _check_children(left: list[int], right: list[int], *, where: str) -> None:
    """Check that the nodes form one tree: each split ``i`` and leaf ``~i`` has one parent, an earlier split.

    LightGBM numbers splits as it makes them, so a child that does not come after its parent is a cycle or was
    written by something else. One earlier parent each leads every node back to the root.
    """
    n_splits = len(left)
    seen: set[int] = set()
    for parent, children in enumerate(zip(left, right, strict=True)):
        for child in children:
            if not -n_splits - 1 <= child < n_splits:
                _refuse(f"{where}: child {child} of node {parent} is out of range: it has {n_splits} splits")
            if 0 <= child <= parent:
                _refuse(f"{where}: child {child} of node {parent} does not come after it: a cycle")
            if child in seen:
                _refuse(f"{where}: node {child} is the child of two nodes")
            seen.add(child)


def _parse_ints(value: str, count: int, *, where: str) -> list[int]:
    if not _INTS.fullmatch(value) or value.count(" ") != count - 1:
        _refuse(f"{where} is {value[:40]!r}, expected {count} whole numbers")
    numbers = [int(token) for token in value.split(" ")]
    _check_extremes(numbers, _WHOLE, where=where)
    return numbers


def _parse_floats(value: str, count: int, *, where: str) -> list[float]:
    if not _FLOATS.fullmatch(value) or value.count(" ") != count - 1:
        _refuse(f"{where} is {value[:40]!r}, expected {count} finite numbers")
    numbers = [float(token) for token in value.split(" ")]
    _check_extremes(numbers, _FINITE, where=where)
    return numbers


def _check_extremes(numbers: Sequence[float], allowed: Range, *, where: str) -> None:
    for extreme in (min(numbers), max(numbers)):
        allowed.check(extreme, f"LightGBM model text {where}")
