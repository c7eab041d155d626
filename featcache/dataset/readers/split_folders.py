"""Where the folders of splits are among the folders of pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from featcache.dataset.readers.cells import quoted, quoted_path
from featcache.dataset.readers.words import counts_alone, is_split_like, split_of, verdict_of
from featcache.errors import ManifestError

__all__ = ["Folder", "check_splits", "find_splits"]

Folder = tuple[str, ...]
"""The folders of a picture below the data, from the top."""


def find_splits(folders: Collection[Folder], is_class: Callable[[str], bool]) -> dict[Folder, int]:
    """Find the place of the split in each folder that is in one; nothing where that is ambiguous.

    If every top folder is called after a split, it is the split. Else the split is the one folder called so that a
    picture is in, of several the one right above a class. All pictures are in one, except those that lie right in a
    folder that splits or data sets are in. There are classes below splits; or else at least two splits, all at one
    depth.

    Parameters
    ----------
    folders : collection of tuple of str
        Of all pictures.
    is_class : callable
        Tells whether a folder's name is that of a class.
    """
    if all(folder and split_of(folder[0]) for folder in folders):
        return dict.fromkeys(folders, 0)
    cuts = {folder: place for folder in folders if (place := _place(folder, is_class)) is not None}
    above = {folder[:depth] for folder, place in cuts.items() for depth in range(place + 1)}
    strays = [folder for folder in folders if folder not in cuts]
    if not above.issuperset(strays):
        return {}
    if any(is_class(part) for folder, place in cuts.items() for part in folder[place + 1 :]):
        return cuts
    names = {split_of(folder[place]) for folder, place in cuts.items()}
    return {} if strays or len(names) < 2 or len({*cuts.values()}) > 1 else cuts


def _place(folder: Folder, is_class: Callable[[str], bool]) -> int | None:
    places = [depth for depth, part in enumerate(folder) if split_of(part)]
    above = [depth for depth in places if depth + 1 < len(folder) and is_class(folder[depth + 1])]
    for found in (above, places):
        if len(found) == 1:
            return found[0]
    return None


def check_splits(
    where: str, first: Mapping[Folder, str], cuts: Mapping[Folder, int], named: Mapping[Folder, str]
) -> None:
    """Refuse generators that are called after splits, and class folders in such where no splits were found.

    Parameters
    ----------
    where : str
        How messages name the source.
    first : mapping of tuple of str to str
        A picture of each folder.
    cuts : mapping of tuple of str to int
        What was found.
    named : mapping of tuple of str to str
        The generators of folders, as far as they are known.

    Raises
    ------
    ManifestError
        Naming a picture in such a folder, and one in none.
    """
    odd = [(folder, name) for folder, name in named.items() if is_split_like(name)]
    if not cuts:
        odd += [(folder, part) for folder in first if (part := _split_of_class(folder))]
    if not odd:
        return
    folder, part = odd[0]
    other = next((path for each, path in first.items() if not any(map(is_split_like, each))), None)
    beside = f", and {quoted(other)} in none" if other else ", and it cannot be told where splits are"
    raise ManifestError(
        f"{where}: {quoted_path(first[folder])} is in {quoted(part)}, which is called after a split{beside}: expected "
        "one folder such as train, val, test, train2017 or test_set above each picture; move away what is in none, or "
        "say --labels none, or what each class is: then splits are drawn"
    )


def _split_of_class(folder: Folder) -> str | None:
    """Find a folder called after a split that is above the class folders of a path."""
    for depth, part in enumerate(folder):
        if _is_word(part):
            return None
        if is_split_like(part):
            return part if any(map(_is_word, folder[depth + 1 :])) else None
    return None


def _is_word(part: str) -> bool:
    return verdict_of(part) is not None and counts_alone(part)
