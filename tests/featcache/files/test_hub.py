"""A hub where nothing answers is not waited for; one that may answer is."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from featcache.files import hub
from featcache.files.hub import patience

CLIENT = logging.getLogger("huggingface_hub.utils._http")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port at which nobody listens, as that of the hub; nothing waits long."""
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "_WAITS", (0.0, 0.01))
    monkeypatch.setattr(hub, "getproxies", dict)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{bound.getsockname()[1]}")
        yield bound.getsockname()[1]


def test_where_nothing_answers_the_client_goes_on_as_offline(closed: int) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    with patience() as silence:
        for _ in range(2):
            with pytest.raises(OfflineModeIsEnabled, match=rf"^nothing answers at 127\.0\.0\.1:{closed} \(.*refused"):
                CLIENT.warning("'refused' thrown while requesting GET x")
    assert silence.reason.startswith("nothing answers") and not CLIENT.filters


def test_a_hub_that_answers_again_is_waited_for(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as server, patience() as silence:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("featcache.files.hub.time.sleep", lambda seconds: seconds and server.listen())
        CLIENT.warning("'refused' thrown while requesting GET x")
        CLIENT.warning("Retrying in 1s")
    assert silence.reason == ""


def test_a_slow_network_and_a_proxy_are_left_to_the_client(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(*_: object, **__: object) -> None:
        raise TimeoutError

    endpoint = f"http://127.0.0.1:{closed}"
    assert hub._why_nothing_answers(endpoint)
    with monkeypatch.context() as patch:
        patch.setattr(hub, "getproxies", lambda: {"http": "http://proxy:3128"})
        patch.setattr(hub, "proxy_bypass", lambda host: False)
        assert hub._why_nothing_answers(endpoint) == ""
        patch.setattr(hub, "proxy_bypass", lambda host: True)
        assert hub._why_nothing_answers(endpoint)
    monkeypatch.setattr("featcache.files.hub.socket.create_connection", wait)
    assert hub._why_nothing_answers(endpoint) == ""


def test_a_download_that_is_under_way_is_not_given_up(closed: int) -> None:
    errors: list[BaseException] = []

    def download() -> None:
        try:
            CLIENT.warning("'refused' thrown while requesting GET x")
        except BaseException as error:
            errors.append(error)

    with patience() as silence:
        thread = threading.Thread(target=download)
        thread.start()
        thread.join()
    assert not errors and silence.reason == ""


def test_a_name_that_cannot_be_looked_up_is_told(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("featcache.files.hub.socket.create_connection", look)
    with suppress(OSError), patience() as silence:
        CLIENT.warning("'no name' thrown while requesting GET x")
    assert "Name or service not known" in silence.reason
