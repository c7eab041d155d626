"""A process of its own for each side of a comparison: own threads, own settings, models loaded once.

``python -m benchmarks.contestant MODULE:CLASS '{"argument": …}'`` makes one object and calls its methods, one a line
of standard input: ``["method", {"argument": …}]``. What a method returns goes out as one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

__all__ = ["Contestant"]


class Contestant:
    """An object in another process.

    Parameters
    ----------
    factory : str
        Its class, as ``module:name``.
    arguments : mapping
        For the class; JSON values.
    environment : mapping of str to str or None
        Variables to set, or (None) to take away, before anything is imported.
    """

    def __init__(
        self, factory: str, arguments: Mapping[str, Any], environment: Mapping[str, str | None] | None = None
    ) -> None:
        variables = dict(os.environ)
        for name, value in (environment or {}).items():
            variables.pop(name, None)
            variables |= {} if value is None else {name: value}
        command = [sys.executable, "-m", "benchmarks.contestant", factory, json.dumps(arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method and return what it returned, through JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{method} ended its process: exit code {self._process.wait()}")
        return json.loads(line)


def main() -> None:
    """Serve."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    served = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
    for line in sys.stdin:
        method, arguments = json.loads(line)
        answers.write(json.dumps(getattr(served, method)(**arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
