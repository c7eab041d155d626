"""Importing heads loads nothing that is not asked for, and shows all that there is."""

from __future__ import annotations

from factories import run_python


def test_all_names_are_listed_and_what_was_asked_for_stays() -> None:
    code = "import heads, sys; print(set(heads.__all__) <= set(dir(heads)), 'numpy' in sys.modules)"
    assert run_python(code).strip() == "True False"
    assert run_python("import heads; print(heads.load_run is vars(heads)['load_run'])").strip() == "True"
