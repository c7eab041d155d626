"""Several processes at one extraction are told of as one."""

from __future__ import annotations

from featcache.extraction.board import Board, merge_results
from featcache.extraction.results import Event, ExtractResult, PassResult, Progress


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


def test_ways_of_all_processes_are_added_up_and_doubts_told_once() -> None:
    ways = ({"simplejpeg": 5, "pillow: PNG": 1}, {"simplejpeg": 2, "pillow": 3})
    passes = [PassResult("image", 6, 6, {"read": 1.0}, {"read": 1.0}, "1 thread", each, ("it lies",)) for each in ways]
    results = [ExtractResult("d", 12, 0, {}, (), (), passes=(each,)) for each in passes]
    (merged,) = merge_results(results).passes
    assert merged.ways == {"simplejpeg": 7, "pillow: PNG": 1, "pillow": 3} and merged.doubts == ("it lies",)
