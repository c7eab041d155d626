"""The package: what is imported from it comes when it is asked for."""

from __future__ import annotations

import pytest

import featcache

from factories import run_python


def test_everything_that_is_named_is_there() -> None:
    assert all(getattr(featcache, name) is not None for name in featcache.__all__)
    with pytest.raises(AttributeError, match="module 'featcache' has no attribute 'open_shop'"):
        featcache.open_shop  # type: ignore[attr-defined]  # noqa: B018


def test_worker_processes_load_nothing_that_they_do_not_need() -> None:
    assert run_python("import sys, featcache; print('numpy' in sys.modules)").strip() == "False"
    code = "import sys, featcache.extraction.survey.look; print('h5py' in sys.modules, 'torch' in sys.modules)"
    assert run_python(code).strip() == "False False"
