"""Laws of screening: it finds what a full look finds, where there is something to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from heads.ablation.components import Components
from heads.ablation.grid import Cell
from heads.ablation.screening import FINALISTS, MOST_FINALISTS, ROUNDS, Round, Screened, choose_finalists, screen
from heads.data.columns import Columns
from heads.data.row_source import ArrayRows
from heads.errors import HeadsError

CELLS = tuple(Cell("mlp", "image", dim, lr) for dim in (8, 16, 32, 64) for lr in (0.1, 0.2, 0.3))


def quality(cell: Cell) -> float:
    assert cell.dim is not None
    assert cell.lr is not None
    return 0.5 + 0.05 * np.log2(cell.dim) - abs(cell.lr - 0.2)


def test_the_best_configuration_is_a_finalist_and_every_other_has_its_stage() -> None:
    looks: list[tuple[int, int, Round]] = []

    def trial(cells: Sequence[Cell], seed: int, rung: Round) -> list[tuple[float, int]]:
        looks.append((len(cells), seed, rung))
        return [(quality(cell) + 0.001 * seed, cell.dim or 0) for cell in cells]

    finalists, screened = screen(CELLS, trial)
    assert max(CELLS, key=quality) in finalists
    assert len(finalists) == FINALISTS
    assert {s.cell for s in screened} == set(CELLS)
    assert sorted({s.stage for s in screened}) == [1, 2]
    assert looks == [(12, 0, ROUNDS[0]), (3, 0, ROUNDS[1]), (3, 1, ROUNDS[1])]


def test_low_rates_that_need_all_epochs_are_not_dropped_in_the_first_round() -> None:
    def trial(cells: Sequence[Cell], seed: int, rung: Round) -> list[tuple[float, int]]:
        late = {cell: rung.effort if cell.lr == 0.1 else min(1.0, 4 * rung.effort) for cell in cells}
        return [((quality(cell) + (0.2 if cell.lr == 0.1 else 0)) * late[cell], 1) for cell in cells]

    best = Cell("mlp", "image", 64, 0.1)
    finalists, screened = screen(CELLS, trial)
    assert best in finalists
    assert {s.cell.lr for s in screened if s.stage == 2} == {0.1, 0.2, 0.3}


def test_where_there_is_one_rate_as_many_go_on_as_are_looked_at_in_full() -> None:
    def trial(cells: Sequence[Cell], seed: int, rung: Round) -> list[tuple[float, int]]:
        return [(float(cell.dim or 0), 1) for cell in cells]

    cells = tuple(Cell("mlp", "image", dim) for dim in (8, 16, 32))
    assert [s.stage for s in screen(cells, trial)[1]] == [1, 2, 2]


def test_a_grid_of_finalists_is_not_screened() -> None:
    def trial(cells: Sequence[Cell], seed: int, rung: Round) -> list[tuple[float, int]]:
        raise AssertionError("nothing to choose")

    assert screen(CELLS[:FINALISTS], trial) == (CELLS[:FINALISTS], ())


def test_the_cheapest_of_the_equally_good_come_along_while_there_is_room() -> None:
    ranked = [
        Screened(CELLS[11], 2, (0.90, 0.94), 100),
        Screened(CELLS[9], 2, (0.90, 0.93), 50),
        Screened(CELLS[0], 2, (0.88, 0.92), 10),
        Screened(CELLS[1], 2, (0.50, 0.54), 1),
    ]
    assert choose_finalists(ranked) == (CELLS[11], CELLS[0])
    assert choose_finalists(ranked, room=159) == (CELLS[11], CELLS[0])
    assert choose_finalists(ranked, room=160) == (CELLS[11], CELLS[0], CELLS[9])
    assert choose_finalists(ranked, room=1e9) == (CELLS[11], CELLS[0], CELLS[9])
    apart = [ranked[0], Screened(CELLS[1], 2, (0.50, 0.54), 1)]
    assert choose_finalists(apart, room=1e9) == (CELLS[11], CELLS[1])


def test_finalists_are_not_more_than_the_most() -> None:
    ranked = [Screened(cell, 2, (0.9, 0.9), 1) for cell in CELLS]
    assert choose_finalists(ranked, room=1e9) == CELLS[:MOST_FINALISTS]


def test_components_keep_what_distances_are_made_of() -> None:
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((300, 4)) @ rng.standard_normal((4, 40)) + 3).astype(np.float32)
    columns = Columns.build({"text": {"cls": 10}, "image": {"pooled": 30}})
    found = Components(ArrayRows(X), columns, rows=np.arange(0, 300, 2))
    assert found.columns.modalities == ("text", "image")
    assert found.n_columns == found.columns.width <= 40
    rows = np.array([5, 1, 299])
    Z = (X - X[::2].mean(axis=0)) / X[::2].std(axis=0)
    ours, theirs = found.read(rows), Z[rows]
    for i in range(3):
        assert np.linalg.norm(ours[i] - ours[0]) == pytest.approx(np.linalg.norm(theirs[i] - theirs[0]), abs=1e-3)


def test_components_are_measured_on_the_rows_to_learn_from_alone() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 6)).astype(np.float32)
    poisoned = X.copy()
    poisoned[40:] = 1e6
    columns = Columns.build({"image": {"pooled": 6}})
    pair = [Components(ArrayRows(x), columns, rows=np.arange(40)).read(np.arange(40)) for x in (X, poisoned)]
    assert (pair[0] == pair[1]).all()


def test_layers_share_their_components() -> None:
    rng = np.random.default_rng(2)
    layer = rng.standard_normal((50, 5)).astype(np.float32)
    X = np.concatenate([layer, layer, layer], axis=1)
    columns = Columns.build({"image": {f"layers:{k}": 5 for k in (1, 2, 3)}})
    found = Components(ArrayRows(X), columns, rows=np.arange(50), is_shared=True)
    assert [block.output for block in found.columns.blocks] == ["layers:1", "layers:2", "layers:3"]
    parts = np.split(found.read(np.arange(50)), 3, axis=1)
    assert np.allclose(parts[0], parts[1])
    assert np.allclose(parts[0], parts[2])


def test_components_have_every_view() -> None:
    X = np.random.default_rng(3).standard_normal((2, 30, 4)).astype(np.float32)
    columns = Columns.build({"image": {"pooled": 4}})
    found = Components(ArrayRows(X), columns, rows=np.arange(30))
    assert found.n_views == 2
    assert not np.allclose(found.read(np.arange(3), 0), found.read(np.arange(3), 1))


def test_one_row_has_no_components() -> None:
    with pytest.raises(HeadsError, match="too few for principal components"):
        Components(ArrayRows(np.ones((3, 2), np.float32)), Columns.build({"image": {"pooled": 2}}), rows=np.array([0]))
