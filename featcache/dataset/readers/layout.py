"""Splits and labels in the names of folders, of pictures on disk and in tars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from featcache.dataset.readers.cells import quoted, quoted_path
from featcache.dataset.readers.class_folders import Class, in_shell, label_by_words
from featcache.dataset.readers.earlier import EarlierLayout
from featcache.dataset.readers.folder_hints import hint_at_classes
from featcache.dataset.readers.reading import TODAY, Reading, as_generator
from featcache.dataset.readers.split_folders import Folder, check_splits, find_splits
from featcache.dataset.readers.words import canonical, is_thing, is_vague, split_of, verdict_of
from featcache.errors import ManifestError
from featcache.identity.terms import UNKNOWN

__all__ = ["Labels", "label_paths"]

Labels = tuple[str | None, int, str | None]
"""Split, label_a and label_b."""
_SHOWN = 3


def label_paths(where: str, paths: Iterable[str], reading: Reading) -> tuple[dict[Folder, Labels], tuple[str, ...]]:
    """Label the pictures in each folder, by the folders of all of them; only parts of the given paths count.

    1. Folders called after splits give the splits, where `featcache.dataset.readers.split_folders` can tell them.
    2. A folder named by a word for real pictures, and its sibling named by one for AI pictures, are classes; splits do
       not separate siblings. The name of the folder above them is that of the generator, whatever it means elsewhere;
       of several, the topmost one by which they differ. Where such a pair is somewhere, words count in all folders of
       the same depth: those for what pictures may show (``nature``) if they are in a pair there.
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
        A path has a word for real and one for AI pictures, it cannot be told where the splits of class folders are,
        the classes in split folders hold no real one, or nothing is called as the user states.
    """
    first: dict[Folder, str] = {}
    counts: dict[Folder, int] = {}
    for path in paths:
        folder = tuple(path.split("/")[:-1])
        first.setdefault(folder, path)
        counts[folder] = counts.get(folder, 0) + 1
    if reading.is_early:
        layout = EarlierLayout.of(where, first)
        found = {folder: layout.label(folder) for folder in first}
        return found, _describe_earlier(where, first, counts, found)
    found = _label(where, first, reading)
    hints = () if reading.labels else hint_at_classes({folder: labels[1:] for folder, labels in found.items()})
    strays = [folder for folder, labels in found.items() if labels[0] is None]
    if not strays or len(strays) == len(found):
        return found, hints
    n = sum(counts[folder] for folder in strays)
    return found, (f"in no split folder, and so in no split: {n:,}, the first {quoted_path(first[strays[0]])}", *hints)


def _label(where: str, first: Mapping[Folder, str], reading: Reading) -> dict[Folder, Labels]:
    """Label folders by rules 2 or later; `first` has a picture of each."""
    cuts = find_splits(first, lambda part: canonical(part) in reading.stated if reading.stated else _is_word(part))
    if reading.is_unlabelled:
        classes: dict[Folder, Class] = {}
    elif reading.stated or reading.rest is not None:
        classes = _label_stated(where, first, cuts, reading)
    else:
        classes = _label_by_words(where, first, cuts)
    unknown = (UNKNOWN, None)
    return {
        folder: (split_of(folder[cuts[folder]]) if folder in cuts else None, *classes.get(folder, unknown))
        for folder in first
    }


def _label_by_words(where: str, first: Mapping[Folder, str], cuts: Mapping[Folder, int]) -> dict[Folder, Class]:
    rests = {f: (*f[: cuts[f]], *f[cuts[f] + 1 :]) if f in cuts else f for f in first}
    check_splits(where, first, cuts, {})
    classes = label_by_words(where, first, rests, {(), *(folder[:cut] for folder, cut in cuts.items())})
    check_splits(where, first, cuts, {folder: name for folder, (_, name) in classes.items() if name})
    if cuts:
        _check_classes(where, first, cuts, classes)
    return classes


def _is_word(part: str) -> bool:
    return verdict_of(part) is not None


def _label_stated(
    where: str, first: Mapping[Folder, str], cuts: Mapping[Folder, int], reading: Reading
) -> dict[Folder, Class]:
    """Label folders by what the user states, and by nothing else."""
    for folder, cut in cuts.items():
        if reading.is_new and canonical(folder[cut]) in reading.stated:
            raise ManifestError(
                f"{where}: --labels says what {quoted(folder[cut])} means, which is the split of "
                f"{quoted_path(first[folder])}: state what folders below it are, or all with --labels '*=ai'"
            )
    found: dict[Folder, Class] = {}
    for folder, path in first.items():
        said = [part for part in folder if canonical(part) in reading.stated]
        verdicts = {reading.stated[canonical(part)] for part in said}
        if len(verdicts) > 1:
            names = " and ".join(map(quoted, said))
            raise ManifestError(f"{where}: --labels says that {quoted_path(path)} is real and that it is AI ({names})")
        if said:
            (verdict,) = verdicts
            generators = filter(None, map(as_generator, said))
            found[folder] = (1, next(generators, None)) if verdict else (0, "real")
        elif reading.rest is not None:
            found[folder] = (1, None) if reading.rest else (0, "real")
    reading.check_stated(where, {part for folder in first for part in folder}, "folders {}")
    return found


def _check_classes(
    where: str, first: Mapping[Folder, str], cuts: Mapping[Folder, int], classes: Mapping[Folder, Class]
) -> None:
    """Refuse split folders with class folders of which none holds real pictures, or some cannot be told."""
    inside = {folder: rest for folder, cut in cuts.items() if not all(map(is_thing, rest := folder[cut + 1 :]))}
    reason = "hold no real pictures that can be told by their names"
    if any(label == 0 for label, _ in classes.values()):
        # On top they would be generators, or mean nothing; here a generator may have its name above them.
        odd = [folder for folder, rest in inside.items() if cuts[folder] and not is_vague(rest[0])]
        inside = {folder: inside[folder] for folder in odd if folder not in classes}
        reason = "hold some that cannot be told by their names"
    if not inside:
        return
    names = {next(part for part in (*filter(_is_word, rest), *rest) if not is_thing(part)) for rest in inside.values()}
    names |= {part for folder in classes for part in folder if _is_word(part)}
    shown = ", ".join(quoted_path(first[folder]) for folder in [*inside][:_SHOWN])
    raise ManifestError(
        f"{where}: the class folders in its split folders {reason}, found "
        f"{shown}{' …' if len(inside) > _SHOWN else ''}: state what they are, such as "
        f"--labels {in_shell(sorted(names))}, or --labels none"
    )


def _describe_earlier(
    where: str, first: Mapping[Folder, str], counts: Mapping[Folder, int], found: Mapping[Folder, Labels]
) -> tuple[str, ...]:
    """Say how many pictures have other labels by rules 1 than by those of today."""
    begin = "labels are read from folders as the earlier version read them into this cache; "
    try:
        today = _label(where, first, TODAY)
    except ManifestError:
        return (f"{begin}today they would be refused: --labels states what they are",)
    odd: Sequence[Folder] = [folder for folder, labels in found.items() if labels != today[folder]]
    n = sum(counts[folder] for folder in odd)
    if not n:
        return ()
    return (f"{begin}{n:,} would have others today, the first {quoted_path(first[odd[0]])}: --labels auto takes those",)
