"""The model hub where it does not answer: its client tries again for half a minute, also where nobody is there."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = ["Silence", "patience"]

_CLIENT = "huggingface_hub.utils._http"
_WAITS = (0.0, 1.0, 2.0)
_MOST_SECONDS = 4.0
_CONNECT_SECONDS = 5.0


class Silence:
    """What is known of a hub that is asked for something.

    Attributes
    ----------
    reason : str
        Why nothing answers; ``""`` as long as something may.
    """

    def __init__(self) -> None:
        self.reason = ""


@contextmanager
def patience() -> Iterator[Silence]:
    """Let the hub's client try again where the hub may be slow, with one warning, and not at all where nothing answers.

    The client then goes on as it does offline: with what it has on this machine.
    """
    logger, silence, asker = logging.getLogger(_CLIENT), Silence(), threading.current_thread()
    has_warned = False

    def is_wanted(record: logging.LogRecord) -> bool:
        """Called when a request has failed, before the client waits: it has no setting for how often it tries."""
        from huggingface_hub import constants
        from huggingface_hub.errors import OfflineModeIsEnabled

        nonlocal has_warned
        if "Rate limited" in record.getMessage():
            return True
        is_first, has_warned = not has_warned, True
        # Its other threads are at files of a hub that has answered: a network that is gone for a moment comes back.
        if is_first and threading.current_thread() is asker:
            silence.reason = _why_nothing_answers(constants.ENDPOINT)
        if silence.reason:
            raise OfflineModeIsEnabled(silence.reason)
        record.msg, record.args = "the model hub does not answer: trying again for half a minute", ()
        return is_first

    logger.addFilter(is_wanted)
    try:
        yield silence
    finally:
        logger.removeFilter(is_wanted)


def _why_nothing_answers(endpoint: str) -> str:
    """Try to connect a few times; ``""`` if something answers, or may: it is slow, or behind a proxy."""
    url = urlsplit(endpoint)
    host, proxies = url.hostname or "", getproxies()
    if not host or ((url.scheme in proxies or "all" in proxies) and not proxy_bypass(host)):
        return ""
    address = host, url.port or (80 if url.scheme == "http" else 443)
    started, reason = time.monotonic(), ""
    for wait in _WAITS:
        if time.monotonic() + wait - started > _MOST_SECONDS:  # looking a name up may take long
            break
        time.sleep(wait)
        try:
            socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
        except TimeoutError:
            return ""
        except OSError as error:
            reason = f"nothing answers at {address[0]}:{address[1]} ({error})"
        else:
            return ""
    return reason
