"""By which rules a data set is read, and what its user states about its labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property

from featcache.dataset.readers.words import (
    SPLIT_NAMES,
    UNLABELLED,
    canonical,
    is_missing,
    is_vague,
    split_of,
    verdict_of,
)
from featcache.errors import ManifestError

__all__ = ["AI_CLASS", "LATEST", "TODAY", "Reading", "as_generator", "write_statement"]

LATEST = 3
AI_CLASS = "ai"
"""In the place of a class: an AI picture of unknown generator. By rules 2 and later no class is called so."""
_MEANINGS = {"real": 0, "ai": 1}
_FORMS = "such as 1=real,0=ai, midjourney=ai, '*=ai' (all others), none (no labels) or auto (as the data say)"
_PART = re.compile(r'\s*("(?:[^"]|"")*"\s*=[^,]*|[^,]*)(,|$)')
_SHOWN, _LOOKED_AT = 10, 1000


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
        What the user states: ``""`` nothing, ``auto`` nothing but that labels are not read by rules 1, ``none`` that
        there are no labels, else what values mean (``0=ai,1=real``). Made by `state`.
    columns : str
        Which columns mean what, as ``--column`` takes it: ``image=file,caption=text``.
    root : str
        The folder below which pictures are, however their paths begin; ``""``: where their paths say.
    splits : str
        Which splits names of splits mean, as ``--splits`` takes it: ``holdout=test``. Made by `state_splits`.
    is_new : bool
        What is stated is stated now, and not remembered: all of it has to be about something that is there.
    has_new_splits : bool
        The same of what is stated about splits.
    generators : frozenset of str
        Words that are names of generators here, since folders say so: ``deepfake``.
    """

    rules: int = LATEST
    labels: str = ""
    columns: str = ""
    root: str = ""
    splits: str = ""
    is_new: bool = field(default=False, compare=False)
    has_new_splits: bool = field(default=False, compare=False)
    generators: frozenset[str] = field(default=frozenset(), compare=False)

    def state(self, text: str) -> Reading:
        """Return this reading with what ``--labels`` says; ``"a,b"=ai`` speaks of a name with a comma.

        Raises
        ------
        ManifestError
            It is no convention.
        """
        text = text.strip()
        labels = text.lower()
        if labels not in ("auto", "none"):
            meanings: dict[str, str] = {}
            for part, said, meaning in _parse(text):
                if not said or meaning not in _MEANINGS:
                    more = ", a name with a comma in quotes: '\"a,b\"=ai'" if "," in text else ""
                    raise ManifestError(
                        f"labels {text!r}: {part!r} is not VALUE=real or VALUE=ai, expected {_FORMS}{more}"
                    )
                if meanings.setdefault(canonical(said), meaning) != meaning:
                    raise ManifestError(f"labels {text!r}: {said!r} means real and ai, expected one of them")
            labels = write_statement(meanings)
        return replace(self, labels=labels, is_new=labels != self.labels)

    def state_splits(self, text: str) -> Reading:
        """Return this reading with what ``--splits`` says; ``auto``: nothing.

        Raises
        ------
        ManifestError
            It says of something that it is no split.
        """
        meanings: dict[str, str] = {}
        for part, said, meaning in _parse(text.strip()) if text.strip().lower() != "auto" else ():
            split = SPLIT_NAMES.get(meaning)
            if not said or split is None:
                raise ManifestError(f"splits {text!r}: {part!r} is not NAME=train, NAME=valid or NAME=test")
            if meanings.setdefault(said.lower(), split) != split:
                raise ManifestError(f"splits {text!r}: {said!r} means {meanings[said.lower()]} and {split}")
        splits = write_statement(meanings)
        return replace(self, splits=splits, has_new_splits=splits != self.splits)

    @cached_property
    def _stated_splits(self) -> Mapping[str, str]:
        return {said: meaning for _, said, meaning in _parse(self.splits) if said}

    def split_named(self, name: str) -> str | None:
        """Name the split that a value of ``split``, or a split of the hub, means; None: it is not known."""
        name = name.strip().lower()
        return self._stated_splits.get(name) or SPLIT_NAMES.get(name)

    def check_splits(self, where: str, there: Iterable[str]) -> None:
        """Raise if something is stated now of names of splits that are nowhere.

        Raises
        ------
        ManifestError
            Naming what is nowhere, and what is there.
        """
        names = {name.strip().lower() for name in there if name.strip()}
        odd = [said for said in self._stated_splits if said not in names] if self.has_new_splits else []
        if odd:
            shown = ", ".join(repr(name[:80]) for name in sorted(names)[:_SHOWN]) or "none"
            said = ", ".join(repr(name[:80]) for name in odd[:_SHOWN])
            raise ManifestError(f"{where}: --splits says what {said} means, found splits {shown}")

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
        return {said: meaning for said, meaning in self._said.items() if said != "*"}

    @property
    def rest(self) -> int | None:
        """What all other pictures are said to be; None: nothing is said of them."""
        return self._said.get("*")

    @cached_property
    def _said(self) -> Mapping[str, int]:
        return {said: _MEANINGS[meaning] for _, said, meaning in _parse(self.labels) if said}

    def check_stated(self, where: str, there: Iterable[str], what: str) -> None:
        """Raise if something is stated of values that are nowhere: now, or of nothing that is there.

        Of 0 and 1 one is enough: a part of the data may have one of them alone.

        Parameters
        ----------
        where : str
            How messages name the source.
        there : iterable of str
            The values that the data have.
        what : str
            What these are, with ``{}`` in their place: ``folders {}``.

        Raises
        ------
        ManifestError
            Naming what is nowhere, and what is there.
        """
        names = {canonical(name): name for name in there}
        pair = {"0", "1"} if names.keys() & self.stated.keys() & {"0", "1"} else set()
        odd = [said for said in self.stated if said not in names.keys() | pair]
        if not odd or (not self.is_new and self.stated.keys() & names.keys()):
            return
        close = {near: None for said in odd for near in get_close_matches(said, [*names][:_LOOKED_AT], n=1)}
        near = f"; did you mean {' and '.join(repr(names[each]) for each in close)}?" if close else ""
        shown = ", ".join(repr(name[:80]) for name in sorted(names.values())[:_SHOWN]) or "nothing"
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        said = ", ".join(repr(name[:80]) for name in odd[:_SHOWN])
        raise ManifestError(f"{where}: --labels says what {said} means, found {what.format(shown + more)}{near}")

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
        if self.rest is not None or value == "-1" or value in UNLABELLED or is_missing(text):
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
        if is_missing(text) or value in UNLABELLED:
            return None
        if text in self.generators:
            return text
        return {0: "real", 1: AI_CLASS, None: text}[verdict_of(text)]

    def split_of(self, name: str) -> str | None:
        """Name the split that a table or tar, or the folder of one, is called after; `split_of` from rules 3 on."""
        return split_of(name) if self.rules > 2 else SPLIT_NAMES.get(name.lower())

    @cached_property
    def _numbers(self) -> frozenset[str]:
        return frozenset(said for said in self.stated if said.isdecimal())

    @cached_property
    def of_names(self) -> Reading:
        """This reading of a second column, of which what is stated about numbers does not speak."""
        kept = {said: meaning for _, said, meaning in _parse(self.labels) if said and said not in self._numbers}
        return replace(self, labels=write_statement(kept) or "auto") if self._numbers else self


TODAY = Reading()


def as_generator(name: str) -> str | None:
    """Return a name if a generator can be called so: it is no number, and no word for something else."""
    return None if is_vague(name) or verdict_of(name) is not None else name


def write_statement(meanings: Mapping[str, str]) -> str:
    """Write what ``--labels`` says of some names, in their order: ``a=real,b=ai``."""
    return ",".join(f"{_write(said)}={meaning}" for said, meaning in sorted(meanings.items()))


def _write(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or name.startswith('"') else name


def _parse(text: str) -> Iterator[tuple[str, str, str]]:
    """Give each part of a statement, the name in it and what it means; a name is empty where a part is none."""
    is_open = True
    while is_open:
        found = _PART.match(text)
        assert found is not None  # it matches nothing as well
        said, _, meaning = (word.strip() for word in found[1].rpartition("="))
        if re.fullmatch('"(?:[^"]|"")*"', said):
            said = said[1:-1].replace('""', '"').strip()
        yield found[1].strip(), said, meaning.lower()
        text, is_open = text[found.end() :], found[2] == ","
