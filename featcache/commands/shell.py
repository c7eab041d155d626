"""Commands as text that can be copied into a shell, whatever is in the names."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from featcache.console import printable
from featcache.upkeep.steps import Step

__all__ = ["print_next", "print_steps", "shell_line"]

_INDENT = "    "
_LAST_ESCAPED_BYTE = 0xDCFF
_FIRST_ESCAPED_BYTE = 0xDC80


def shell_line(words: Sequence[str]) -> str:
    """Quote a command for a shell; what a terminal must not see becomes the escapes of ``$'…'`` (bash, zsh, ksh)."""
    return " ".join(_quote(word) for word in words)


def _quote(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    return "$'" + "".join(map(_escape, word)) + "'"


def _escape(char: str) -> str:
    code = ord(char)
    if char in "\\'":
        return "\\" + char
    if printable(char) == char:
        return char
    if _FIRST_ESCAPED_BYTE <= code <= _LAST_ESCAPED_BYTE:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def print_steps(console: Console, steps: Sequence[Step]) -> None:
    """Print commands, each under a comment that says what it does, broken between options where they are long."""
    for step in steps:
        console.print(f"  # {printable(step.why)}", style="dim", markup=False, emoji=False, soft_wrap=True)
        for line in _lines(step.command, console.width - 4):
            console.print("  " + line, markup=False, emoji=False, soft_wrap=True)


def print_next(console: Console, verdict: str, steps: Sequence[Step]) -> None:
    """Print a verdict and what is to be done next: one short command in its line, others below."""
    head = f"{verdict} Next:".lstrip()
    line = shell_line(steps[0].command) if len(steps) == 1 else ""
    if line and Text.from_markup(head).cell_len + 1 + cell_len(line) <= console.width:
        console.print(f"{head} {escape(line)}", soft_wrap=True)
    else:
        console.print(head, soft_wrap=True)
        print_steps(console, steps)


def _lines(words: Sequence[str], width: int) -> list[str]:
    """Break a command before options, so that lines fit where they can."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and parts[-1]:
            parts.append([])
        parts[-1].append(word)
    lines = [shell_line(parts[0])]
    for part in map(shell_line, parts[1:]):
        if len(lines[-1]) + 1 + len(part) <= width - 2:
            lines[-1] += " " + part
        else:
            lines[-1] += " \\"
            lines.append(_INDENT + part)
    return lines
