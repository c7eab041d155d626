"""Splits and labels in the names of folders, of pictures on disk and in tars."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.earlier import EarlierLayout
from featcache.dataset.readers.reading import TODAY, Reading, as_generator
from featcache.dataset.readers.words import SPLIT_NAMES, canonical, is_weak, verdict_of
from featcache.errors import ManifestError
from featcache.identity.terms import UNKNOWN

__all__ = ["Labels", "label_paths"]

Labels = tuple[str | None, int, str | None]
"""Split, label_a and label_b."""
_Folder = tuple[str, ...]
_SHOWN = 3


def label_paths(where: str, paths: Iterable[str], reading: Reading) -> tuple[dict[_Folder, Labels], tuple[str, ...]]:
    """Label the pictures in each folder, by the folders of all of them; only parts of the given paths count.

    1. If each picture is in a folder and every top folder is named like a split, the top folder gives the split.
       Else, if the folder above each class folder is named like a split, that one does.
    2. A folder named by a word for real pictures, and its sibling named by one for AI pictures, are classes; splits do
       not separate siblings. The name of the folder above them is that of the generator; of several, the topmost one
       by which they differ. Where such a pair is somewhere, words count in all folders of the same depth.
    3. A folder for real pictures on top, or right below the splits, makes its siblings classes too: their names are
       those of generators, unless they can be that of none.
    4. Else folders mean nothing, and labels are unknown.

    Where the user states what names mean, these names alone are classes.

    Parameters
    ----------
    where : str
        How messages name the source.
    paths : iterable of str
        Of all pictures, with ``/`` between their parts; the last part is the picture.
    reading : Reading
        By which rules labels are read, and what is stated about them.

    Returns
    -------
    labels : dict of tuple of str to Labels
        By the folder of pictures, in parts.
    notes : tuple of str
        What the user should know about them.

    Raises
    ------
    ManifestError
        A path has a word for real and one for AI pictures, split folders stand beside class folders, the classes in
        split folders hold no real one, or nothing is called as the user states.
    """
    first: dict[_Folder, str] = {}
    counts: dict[_Folder, int] = {}
    for path in paths:
        folder = tuple(path.split("/")[:-1])
        first.setdefault(folder, path)
        counts[folder] = counts.get(folder, 0) + 1
    if reading.is_early:
        layout = EarlierLayout.of(where, first)
        found = {folder: layout.label(folder) for folder in first}
        return found, _describe_earlier(where, first, counts, found)
    return _label(where, first, reading), ()


def _label(where: str, first: Mapping[_Folder, str], reading: Reading) -> dict[_Folder, Labels]:
    """Label folders by rules 2; `first` has a picture of each."""
    tops = {folder[0].lower() if folder else "" for folder in first}
    is_split = tops <= SPLIT_NAMES.keys()
    cuts = dict.fromkeys(first, 0) if is_split else _inner_splits(first, reading)
    rests = {folder: folder[: cuts[folder]] + folder[cuts[folder] + 1 :] if cuts else folder for folder in first}
    if reading.is_unlabelled:
        classes: dict[_Folder, tuple[int, str | None]] = {}
    elif reading.stated or reading.rest is not None:
        classes = _label_stated(where, first, reading)
    else:
        if not cuts:
            _check_tops(where, first)
        classes = _label_by_words(where, first, rests)
        _check_generators(where, first, classes)
        if is_split:
            _check_real(where, first, rests, classes)
    unknown = (UNKNOWN, None)
    return {
        folder: (SPLIT_NAMES[folder[cuts[folder]].lower()] if cuts else None, *classes.get(folder, unknown))
        for folder in first
    }


def _check_generators(
    where: str, first: Mapping[_Folder, str], classes: Mapping[_Folder, tuple[int, str | None]]
) -> None:
    """Refuse generators that are called like splits: the folders of splits are not where they are looked for."""
    for folder, (_, name) in classes.items():
        if name is not None and re.sub(r"[-_]?[0-9]+$", "", name.lower()) in SPLIT_NAMES:
            raise ManifestError(
                f"{where}: {quoted(first[folder])} would be by a generator {quoted(name)}, expected splits on top or "
                "right above real and AI folders in all of the data: name the folder that the splits are in, move away "
                "what stands beside them, or state the labels, such as --labels none"
            )


def _check_tops(where: str, folders: Iterable[_Folder]) -> None:
    """Refuse split folders on top that stand beside others, where class folders are among or in them."""
    tops = {folder[0].lower() if folder else "" for folder in folders}
    splits = tops & SPLIT_NAMES.keys()
    classes = tops | {folder[1] for folder in folders if len(folder) > 1 and folder[0].lower() in splits}
    if splits and any(verdict_of(name) == 0 and not is_weak(name) for name in classes):
        other = sorted(tops - splits)[0]
        raise ManifestError(
            f"{where}: expected splits only or no splits on top, found "
            f"{quoted(sorted(splits)[0])} beside {quoted(other) if other else 'pictures'}"
        )


def _inner_splits(folders: Iterable[_Folder], reading: Reading) -> dict[_Folder, int]:
    """Find the split folder right above the class folder of each picture; nothing unless each has one."""
    cuts: dict[_Folder, int] = {}
    for folder in folders:
        is_class = [canonical(part) in reading.stated if reading.stated else _is_word(part) for part in folder]
        above = [i for i, part in enumerate(folder[:-1]) if part.lower() in SPLIT_NAMES and is_class[i + 1]]
        if len(above) != 1:
            return {}
        cuts[folder] = above[0]
    return cuts


def _is_word(part: str) -> bool:
    return verdict_of(part) is not None


def _label_stated(where: str, first: Mapping[_Folder, str], reading: Reading) -> dict[_Folder, tuple[int, str | None]]:
    """Label folders by what the user states, and by nothing else."""
    found: dict[_Folder, tuple[int, str | None]] = {}
    for folder, path in first.items():
        said = [part for part in folder if canonical(part) in reading.stated]
        verdicts = {reading.stated[canonical(part)] for part in said}
        if len(verdicts) > 1:
            names = " and ".join(map(quoted, said))
            raise ManifestError(f"{where}: --labels says that {quoted(path)} is real and that it is AI ({names})")
        if said:
            (verdict,) = verdicts
            generators = filter(None, map(as_generator, said))
            found[folder] = (1, next(generators, None)) if verdict else (0, "real")
        elif reading.rest is not None:
            found[folder] = (1, None) if reading.rest else (0, "real")
    if reading.stated and not any(canonical(part) in reading.stated for folder in first for part in folder):
        parts = sorted({part for folder in first for part in folder})
        shown = ", ".join(map(quoted, parts[:10])) + (f" and {len(parts) - 10} more" if len(parts) > 10 else "")
        values = ", ".join(map(quoted, reading.stated))
        raise ManifestError(
            f"{where}: --labels says what {values} means, found {f'folders {shown}' if shown else 'none'}"
        )
    return found


@dataclass(frozen=True)
class _Level:
    """Which words count among the folders that are siblings."""

    depths: frozenset[int]
    paired: frozenset[_Folder]
    has_generators: bool
    """Whether what stands on top beside real pictures is named like a generator."""
    n_common: int
    """Parts in front that all folders above AI pictures share: they tell no generators apart."""

    @classmethod
    def of(cls, rests: Iterable[_Folder]) -> _Level:
        children: dict[_Folder, set[str]] = {}
        for rest in rests:
            for depth, part in enumerate(rest):
                children.setdefault(rest[:depth], set()).add(part)
        said = {parent: {verdict_of(name) for name in names} for parent, names in children.items()}
        paired = frozenset(parent for parent, verdicts in said.items() if {0, 1} <= verdicts)
        has_real = any(verdict_of(name) == 0 and not is_weak(name) for name in children.get((), ()))
        depths = {len(parent) for parent in paired} | ({0} if has_real else set())
        above = [parent for parent, verdicts in said.items() if 1 in verdicts and len(parent) in depths]
        return cls(frozenset(depths), paired, has_real or () in paired, _count_common(above))

    def label(self, rest: _Folder) -> tuple[int, str | None] | None:
        """Give both labels of the pictures in a folder; None: its names say nothing."""
        for depth, part in enumerate(rest):
            parent = rest[:depth]
            if depth not in self.depths:
                continue
            verdict = verdict_of(part)
            if verdict is not None and (parent in self.paired or not is_weak(part)):
                return (1, self._generator(parent)) if verdict else (0, "real")
            if not parent and self.has_generators and (generator := as_generator(part)) is not None:
                return 1, generator
        return None

    def _generator(self, parent: _Folder) -> str | None:
        if not parent:
            return None
        return as_generator(parent[self.n_common] if len(parent) > self.n_common else parent[-1])


def _count_common(folders: Sequence[_Folder]) -> int:
    """Count the parts in front that all folders share."""
    least, most = min(folders, default=()), max(folders, default=())
    pairs = enumerate(zip(least, most, strict=False))
    return next((depth for depth, (one, other) in pairs if one != other), min(len(least), len(most)))


def _label_by_words(
    where: str, first: Mapping[_Folder, str], rests: Mapping[_Folder, _Folder]
) -> dict[_Folder, tuple[int, str | None]]:
    level = _Level.of(rests.values())
    found: dict[_Folder, tuple[int, str | None]] = {}
    for folder, rest in rests.items():
        label = level.label(rest)
        words = {verdict_of(part): part for part in reversed(rest) if _is_word(part) and not is_weak(part)}
        if {0, 1} <= words.keys() or (label is not None and label[0] == 1 and 0 in words):
            other = words.get(1) or next(part for part in rest if as_generator(part))
            raise ManifestError(
                f"{where}: {quoted(first[folder])} has a word for real pictures ({quoted(words[0])}) and one for AI "
                f"({quoted(other)}): state which of them counts, such as --labels {quoted(f'{other}=ai')}, or none"
            )
        if label is not None:
            found[folder] = label
    return found


def _check_real(
    where: str,
    first: Mapping[_Folder, str],
    rests: Mapping[_Folder, _Folder],
    classes: Mapping[_Folder, tuple[int, str | None]],
) -> None:
    """Refuse split folders with class folders of which none holds real pictures."""
    inside = [folder for folder, rest in rests.items() if rest]
    if not inside or any(label == 0 for label, _ in classes.values()):
        return
    names = sorted({next(filter(_is_word, rests[folder]), rests[folder][0]) for folder in inside})
    shown = ", ".join(quoted(first[folder]) for folder in inside[:_SHOWN])
    raise ManifestError(
        f"{where}: the class folders in its split folders hold no real pictures that can be told by their names, found "
        f"{shown}{' …' if len(inside) > _SHOWN else ''}: state what they are, such as --labels {_example(names)}, or "
        "--labels none"
    )


def _example(names: Sequence[str]) -> str:
    """Write a statement about folders that a user may want, quoted for a shell."""
    if len(names) > _SHOWN or re.search("[,=']", "".join(names)):
        return "'*=ai'"
    is_numbered = all(map(str.isdecimal, names))
    real = [name for name in names if verdict_of(name) == 0] or (names[:1] if is_numbered and len(names) > 1 else [])
    return quoted(",".join(f"{name}={'real' if name in real else 'ai'}" for name in names))


def _describe_earlier(
    where: str, first: Mapping[_Folder, str], counts: Mapping[_Folder, int], found: Mapping[_Folder, Labels]
) -> tuple[str, ...]:
    """Say how many pictures have other labels by rules 1 than by rules 2."""
    begin = "labels are read from folders as the earlier version read them into this cache; "
    try:
        today = _label(where, first, TODAY)
    except ManifestError:
        return (f"{begin}today they would be refused: --labels states what they are",)
    odd: Sequence[_Folder] = [folder for folder, labels in found.items() if labels != today[folder]]
    n = sum(counts[folder] for folder in odd)
    if not n:
        return ()
    return (f"{begin}{n:,} would have others today, the first {quoted(first[odd[0]])}: --labels auto takes those",)
