"""What folders may mean though they are not read so, and what to type if they do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.class_folders import in_shell
from featcache.dataset.readers.reading import as_generator
from featcache.dataset.readers.split_folders import Folder
from featcache.dataset.readers.words import canonical, counts_alone, is_thing, split_of, verdict_of
from featcache.identity.terms import UNKNOWN

__all__ = ["hint_at_classes"]

_MOST_WORDS, _MOST_NAMES, _MOST_STATED = 4, 50, 6
_MOST_ABOVE = 3
"""So many names without a word `in_shell` writes."""


def hint_at_classes(labels: Mapping[Folder, tuple[int, str | None]]) -> tuple[str, ...]:
    """Name words that are no classes where nothing else has a label, and generators that may be below a word for AI.

    Parameters
    ----------
    labels : mapping of tuple of str to (int, str or None)
        Both labels by folder, where the user states nothing of them.

    Returns
    -------
    tuple of str
        Lines for the user, with the ``--labels`` that says so.
    """
    if all(label_a == UNKNOWN for label_a, _ in labels.values()):
        return _hint_at_words(labels)
    unnamed = [folder for folder, label in labels.items() if label == (1, None)]
    real = [folder for folder, (label_a, _) in labels.items() if label_a == 0]
    words = {word for verdict, folders in ((0, real), (1, unnamed)) for word in _words(folders, verdict)}
    names = _below(unnamed, 1)
    if (
        not 0 < len(names) <= _MOST_NAMES
        or len(words) > _MOST_WORDS
        or {*map(canonical, names)} & {canonical(name) for name in _below(real, 0)}
    ):
        return ()
    ordered = sorted(names)
    stated = ordered[: _MOST_STATED - len(words)]
    more = " and so on" if len(stated) < len(names) else ""
    shown = f"{quoted(ordered[0])}, below {quoted(names[ordered[0]])}, names no generator"
    return (f"{shown}: --labels {in_shell([*sorted(words), *stated])}{more} if it is one",)


def _hint_at_words(folders: Collection[Folder]) -> tuple[str, ...]:
    words = _words(folders, 0) | _words(folders, 1)
    has_ai = any(verdict_of(word) for word in words)
    fitting = sorted(word for word in words if (has_ai or counts_alone(word)) and not is_thing(word))
    if not 0 < len(fitting) <= _MOST_STATED or not all(map(str.isprintable, fitting)):
        return ()
    shown = ", ".join(map(quoted, fitting))
    names = _above(folders)
    more = f"; --labels {in_shell(names)} too if these are generators" if 0 < len(names) <= _MOST_ABOVE else ""
    why = "real and AI are not side by side"
    return (f"{shown}: no class folders, as {why}: --labels {in_shell(fitting)} if they are{more}",)


def _above(folders: Collection[Folder]) -> list[str]:
    """Find what may be the names of generators right above words for AI, and is above no word for real pictures."""
    real = {part for folder in folders if _words([folder], 0) for part in folder}
    above = {one for folder in folders for one, word in pairwise(folder) if verdict_of(word) == 1}
    return sorted({one for one in above if as_generator(one) and split_of(one) is None and one.isprintable()} - real)


def _words(folders: Collection[Folder], verdict: int) -> set[str]:
    return {part for folder in folders for part in folder if verdict_of(part) == verdict}


def _below(folders: Collection[Folder], verdict: int) -> dict[str, str]:
    """Find what may be the name of a generator right below the innermost word, and the word."""
    found: dict[str, str] = {}
    for folder in folders:
        depth = max((depth for depth, part in enumerate(folder) if verdict_of(part) == verdict), default=len(folder))
        for part in folder[depth + 1 : depth + 2]:
            if as_generator(part) and split_of(part) is None and part.isprintable():
                found.setdefault(part, folder[depth])
    return found
