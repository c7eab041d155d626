"""The package: what is imported from it comes when it is asked for."""

from __future__ import annotations

import pytest

import featcache

from factories import run_python


def test_everything_that_is_named_is_there() -> None:
    assert all(getattr(featcache, name) is not None for name in featcache.__all__)
    with pytest.raises(AttributeError, match="module 'featcache' has no attribute 'open_shop'"):
        featcache.open_shop  # type: ignore[attr-defined]  # noqa: B018


def test_what_was_asked_for_stays_and_all_names_are_listed() -> None:
    code = "import featcache; print(set(featcache.__all__) <= set(dir(featcache)), 'Arrays' in vars(featcache))"
    assert run_python(code).strip() == "True False"
    assert featcache.Arrays is vars(featcache)["Arrays"]


def test_packages_are_attributes_and_one_that_lacks_a_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import featcache; print(featcache.store.opening.open_store is featcache.open_store, featcache.dataset)"
    assert run_python(code).startswith("True <module 'featcache.dataset'")

    def lack(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(featcache, "import_module", lack)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        featcache.nothing_yet  # type: ignore[attr-defined]  # noqa: B018


def test_worker_processes_load_nothing_that_they_do_not_need() -> None:
    assert run_python("import sys, featcache; print('numpy' in sys.modules)").strip() == "False"
    for module in ("featcache.extraction.survey.look", "featcache.extraction.preparing.load_worker"):
        code = f"import sys, {module}; print('h5py' in sys.modules, 'torch' in sys.modules)"
        assert run_python(code).strip() == "False False"
