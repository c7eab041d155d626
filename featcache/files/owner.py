"""Whose a file is that was left behind: a process of a host, alive or dead as far as can be told from here."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Owner"]

_PROCESS = secrets.token_hex(4)
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes
    ----------
    host : str
        Name of the machine; a container with process numbers of its own counts as another machine.
    pid : int
        Number of the process.
    process : str
        Drawn once a process: tells it from an earlier one that had the same number.
    """

    host: str
    pid: int
    process: str

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        return cls(_host(), os.getpid(), _PROCESS)

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == _host()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended: never of a process elsewhere."""
        if not self.is_here:
            return False
        if self.pid == os.getpid():
            return self.process != _PROCESS
        if self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False


@cache
def _host() -> str:
    name = "".join(c for c in socket.gethostname() if c.isalnum())[:20] or "host"
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = _FIRST_PID_NAMESPACE
    return name if namespace == _FIRST_PID_NAMESPACE else f"{name}x{namespace:x}"
