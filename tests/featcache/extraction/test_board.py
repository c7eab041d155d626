"""Several processes at one extraction are told of as one."""

from __future__ import annotations

from featcache.extraction.board import Board
from featcache.extraction.results import Event, Progress


def test_a_broken_picture_is_one_failure_for_all_views_and_processes() -> None:
    states: list[Progress] = []
    board = Board(states.append, lambda _: None)
    for view in ("clean", "hflip"):
        names = {"modality": "image", "view": view}
        board.note(Event("plan", names | {"n_todo": 4}))
        board.note(Event("failure", names | {"sample_id": "a", "stage": "decode", "error": "E", "message": "m"}))
        board.note(Event("unit", names | {"n_rows": 3, "n_failed": 1}))
    board.note(Event("failure", {"stage": "scan", "sample_id": "b", "message": "m"}))
    assert [(s.done, s.total, s.failed) for s in states] == [(4, 4, 1), (4, 4, 1)]
