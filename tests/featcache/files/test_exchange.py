"""Laws of the exchange of names: both or neither, and never a moment without."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from featcache.files import exchange
from featcache.files.exchange import exchange_names


def make(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "text").write_text(text)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one, other = make(tmp_path / "one", "1"), make(tmp_path / "other", "2")
    if not exchange_names(one, other):
        pytest.skip("names cannot be exchanged on this file system")
    assert exchange_names(one, other)
    return one, other


def test_both_names_stand_for_what_the_other_stood_for(pair: tuple[Path, Path]) -> None:
    one, other = pair
    assert exchange_names(one, other)
    assert ((one / "text").read_text(), (other / "text").read_text()) == ("2", "1")


def test_a_link_is_exchanged_itself(pair: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(pair[1])
    assert exchange_names(pair[0], link)
    assert pair[0].is_symlink() and not link.is_symlink() and (pair[1] / "text").read_text() == "2"


def test_a_name_is_never_missing_while_it_is_exchanged(pair: tuple[Path, Path]) -> None:
    missing, ended = [], threading.Event()

    def look() -> None:
        while not ended.is_set():
            if not (pair[0] / "text").exists():
                missing.append(1)

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(500):
        exchange_names(*pair)
    ended.set()
    watcher.join()
    assert not missing


def test_what_is_missing_is_an_error_and_nothing_happens(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exchange_names(pair[0], tmp_path / "nowhere")
    assert (pair[0] / "text").read_text() == "1"


def test_without_the_function_it_is_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange.ctypes, "CDLL", lambda *_, **__: object())
    assert not exchange_names(make(tmp_path / "one", "1"), make(tmp_path / "other", "2"))
    assert (tmp_path / "one" / "text").read_text() == "1"


@pytest.mark.parametrize("error", ["ENOSYS", "EINVAL", "ENOTSUP", "EPERM"])
def test_where_the_file_system_cannot_it_is_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    class Library:
        def renameat2(self, *_: object) -> int:
            exchange.ctypes.set_errno(getattr(exchange.errno, error))
            return -1

        renamex_np = renameat2

    monkeypatch.setattr(exchange.ctypes, "CDLL", lambda *_, **__: Library())
    assert not exchange_names(make(tmp_path / "one", "1"), make(tmp_path / "other", "2"))
