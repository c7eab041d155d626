"""By which rules a data set is read, and what its user states about its labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from featcache.dataset.readers.words import canonical, is_missing, is_vague, verdict_of
from featcache.errors import ManifestError

__all__ = ["AI_CLASS", "LATEST", "TODAY", "Reading", "as_generator"]

LATEST = 3
AI_CLASS = "ai"
"""In the place of a class: an AI picture of unknown generator. No class is called so, by rules 2."""
_MEANINGS = {"real": 0, "ai": 1}
_FORMS = "such as 1=real,0=ai, midjourney=ai, '*=ai' (all others), none (no labels) or auto (as the data say)"


@dataclass(frozen=True)
class Reading:
    """How a data set is read: how its labels and captions are understood, and where its columns and pictures are.

    Attributes
    ----------
    rules : int
        1: as the first version read folders, names of classes and captions. 2: by the words of
        `featcache.dataset.readers.words`. 3: objects beside pictures say what those in tars say, and captions may be
        lists in text. A data set that a cache knows goes on by its own.
    labels : str
        What the user states: ``""`` nothing, ``auto`` nothing but that labels are read by rules 2, ``none`` that
        there are no labels, else what values mean (``0=ai,1=real``). Made by `state`.
    columns : str
        Which columns mean what, as ``--column`` takes it: ``image=file,caption=text``.
    root : str
        The folder below which pictures are, however their paths begin; ``""``: where their paths say.
    """

    rules: int = LATEST
    labels: str = ""
    columns: str = ""
    root: str = ""

    def state(self, text: str) -> Reading:
        """Return this reading with what ``--labels`` says.

        Raises
        ------
        ManifestError
            It is no convention.
        """
        text = text.strip()
        if text.lower() in ("auto", "none"):
            return replace(self, labels=text.lower())
        meanings: dict[str, str] = {}
        for part in text.split(","):
            said, equals, meaning = (word.strip() for word in part.rpartition("="))
            if not equals or not said or meaning.lower() not in _MEANINGS:
                odd = part.strip()
                raise ManifestError(f"labels {text!r}: {odd!r} is not VALUE=real or VALUE=ai, expected {_FORMS}")
            if meanings.setdefault(canonical(said), meaning.lower()) != meaning.lower():
                raise ManifestError(f"labels {text!r}: {said!r} means real and ai, expected one of them")
        return replace(self, labels=",".join(f"{said}={meaning}" for said, meaning in sorted(meanings.items())))

    @property
    def is_early(self) -> bool:
        """Whether labels are read by rules 1."""
        return self.rules == 1 and not self.labels

    @property
    def is_unlabelled(self) -> bool:
        """Whether the data are said to have no labels."""
        return self.labels == "none"

    @cached_property
    def stated(self) -> Mapping[str, int]:
        """What values are said to mean, by their canonical spelling: 0 real, 1 AI."""
        pairs = (part.rpartition("=") for part in self.labels.split(",") if "=" in part)
        return {said: _MEANINGS[meaning] for said, _, meaning in pairs if said != "*"}

    @cached_property
    def rest(self) -> int | None:
        """What all other pictures are said to be; None: nothing is said of them."""
        found = re.search(r"(?:^|,)\*=(real|ai)(?:,|$)", self.labels)
        return None if found is None else _MEANINGS[found[1]]

    def of_label(self, text: str) -> int | None:
        """Tell what a value of ``label_a`` means: 0 real, 1 AI; None: nothing.

        Raises
        ------
        ValueError
            It means nothing that is known.
        """
        value = canonical(text)
        if value in self.stated:
            return self.stated[value]
        if self.rest is not None or value in ("-1", "unknown") or is_missing(text):
            return None
        if value in ("0", "1"):
            if self._numbers:
                known = sorted(self._numbers)[0]
                raise ValueError(f"--labels says what {known} means, and nothing of {text[:60]!r}: add it")
            return int(value)
        if (verdict := verdict_of(text)) is None:
            raise ValueError(
                f"unknown label {text[:60]!r}, expected 0 or real, 1 or ai, -1 or nothing: state with --labels what it "
                "means"
            )
        return verdict

    def of_class(self, text: str) -> str | None:
        """Name the class that the name of a generator stands for: ``real``, `AI_CLASS`, or its own; None: unknown."""
        value = canonical(text)
        if value in self.stated:
            return "real" if self.stated[value] == 0 else as_generator(text) or AI_CLASS
        if self.rest is not None:
            return as_generator(text) if self.rest else None
        if self.is_early:
            return "real" if text.lower() == "real" else text
        if is_missing(text) or value == "unknown":
            return None
        return {0: "real", 1: AI_CLASS, None: text}[verdict_of(text)]

    @cached_property
    def _numbers(self) -> frozenset[str]:
        return frozenset(said for said in self.stated if said.isdecimal())

    @cached_property
    def of_names(self) -> Reading:
        """This reading of a second column, of which what is stated about numbers does not speak."""
        kept = [part for part in self.labels.split(",") if part.rpartition("=")[0] not in self._numbers]
        return replace(self, labels=",".join(kept) or "auto") if self._numbers else self


TODAY = Reading()


def as_generator(name: str) -> str | None:
    """Return a name if a generator can be called so: it is no number, and no word for something else."""
    return None if is_vague(name) or verdict_of(name) is not None else name
