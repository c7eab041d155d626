"""Laws of choosing vectors: by modality and view, and no choice is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from heads.data.choices import choose_selections
from heads.errors import HeadsError
from tests.heads.synthetic import write_cache


def test_an_unknown_choice_of_vectors_is_refused(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache")
    with pytest.raises(HeadsError, match="unknown choice 'layer'"):
        choose_selections(store, ["image"], choices={"image": {"layer": "4"}})
    chosen = choose_selections(store, ["image"], choices={"image": {"outputs": "pooled"}})
    assert chosen["image"].outputs == ("pooled",)
