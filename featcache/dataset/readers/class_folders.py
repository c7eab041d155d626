"""Which folders are classes, by the words in their names and by what stands beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from featcache.dataset.readers.cells import quoted, quoted_path
from featcache.dataset.readers.reading import as_generator, write_statement
from featcache.dataset.readers.split_folders import Folder
from featcache.dataset.readers.words import bare, counts_alone, is_weak, verdict_of
from featcache.errors import ManifestError

__all__ = ["Class", "in_shell", "label_by_words"]

Class = tuple[int, str | None]
"""label_a and label_b."""
_REAL: Class = (0, "real")
_SHOWN = 3


def label_by_words(
    where: str, first: Mapping[Folder, str], rests: Mapping[Folder, Folder], roots: Collection[Folder]
) -> dict[Folder, Class]:
    """Label folders by words, as `featcache.dataset.readers.layout.label_paths` says; those without a label are absent.

    Parameters
    ----------
    where : str
        How messages name the source.
    first : mapping of tuple of str to str
        A picture of each folder.
    rests : mapping of tuple of str to tuple of str
        Each folder without its split.
    roots : collection of tuple of str
        Where a folder for real pictures makes its siblings generators: on top, and right below the splits.

    Raises
    ------
    ManifestError
        A path has a word for real and one for AI pictures.
    """
    level = _Level.of(rests.values(), roots)
    found: dict[Folder, Class] = {}
    for folder, rest in rests.items():
        label = level.label(rest)
        words = dict(level.words(rest))
        if {0, 1} <= words.keys() or (label is not None and label[0] == 1 and 0 in words):
            raise ManifestError(f"{where}: {quoted_path(first[folder])} {_clash(level, rest, words, rests.values())}")
        if label is not None:
            found[folder] = label
    return found


def _clash(level: _Level, rest: Folder, words: Mapping[int, str], rests: Iterable[Folder]) -> str:
    """Say what contradicts itself in a path, and how to state what counts."""
    begin = f"has a word for real pictures ({quoted(words[0])}) and "
    names = {name for each in rests if (name := level.innermost(each))}
    if 1 in words:
        other = f"one for AI ({quoted(words[1])})"
    else:
        generator = next(part for part in rest if as_generator(part))
        other = f"is in {quoted(generator)}, which stands beside a folder for real pictures as a generator does"
        if not counts_alone(words[0]):
            names = {generator, *(name for root in level.grounds for name in level.children[root] if _is_real(name))}
    return f"{begin}{other}: state what counts, such as --labels {in_shell(sorted(names))}, or none"


def in_shell(names: Collection[str]) -> str:
    """Write a statement about folders that a user may want, as it is typed."""
    is_numbered = len(names) > 1 and all(map(str.isdecimal, names))
    real = {name for name in names if verdict_of(name) == 0} or ({min(names)} if is_numbered else set())
    text = write_statement({name: "real" if name in real else "ai" for name in names})
    most = _SHOWN if all(verdict_of(name) is None for name in names) else 2 * _SHOWN
    if not 0 < len(names) <= most or not text.isprintable():
        return "'*=ai'"
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _is_real(name: str) -> bool:
    return verdict_of(name) == 0 and counts_alone(name)


@dataclass(frozen=True)
class _Level:
    """Which words count among the folders that are siblings."""

    children: Mapping[Folder, frozenset[str]]
    verdicts: Mapping[Folder, frozenset[int | None]]
    """Of the children of a folder, without those whose names are of what is inside: pairs."""
    paired: frozenset[Folder]
    outer: frozenset[Folder]
    """The folders that there are pairs in, deep inside too."""
    grounds: frozenset[Folder]
    """Where what stands beside real pictures is named like a generator."""
    depths: frozenset[int]
    """Of the children in pairs."""
    in_pairs: frozenset[tuple[int, str]]
    """Words in pairs, by depth."""
    roots: frozenset[Folder]
    """On top, and what is right above the splits."""
    n_common: int
    """Parts in front that all folders above AI pictures share, below the splits: they tell no generators apart."""
    wrappers: frozenset[Folder]
    """Folders above AI pictures that generators are in, and that are none."""

    @classmethod
    def of(cls, rests: Iterable[Folder], roots: Collection[Folder]) -> _Level:
        children: dict[Folder, set[str]] = {}
        for rest in rests:
            for depth, part in enumerate(rest):
                children.setdefault(rest[:depth], set()).add(part)
        verdicts: dict[Folder, frozenset[int | None]] = {}
        paired: set[Folder] = set()
        outer: set[Folder] = set()
        for parent in sorted(children, key=len, reverse=True):
            others = (name for name in children[parent] if _is_real(name) or (*parent, name) not in outer)
            verdicts[parent] = frozenset(map(verdict_of, others))
            if {0, 1} <= verdicts[parent]:
                paired.add(parent)
                outer.update(parent[:depth] for depth in range(len(parent) + 1))
        in_pairs = {(len(parent), bare(name)) for parent in paired for name in children[parent]}
        grounds = {
            root for root in roots if root in children and root not in paired and any(map(_is_real, children[root]))
        }
        depths = {len(parent) for parent in paired}
        above = [parent for parent, said in verdicts.items() if 1 in said and len(parent) in depths]
        owns = {parent: _own(parent, roots) for parent in above}
        n_common = _count_common(owns.values())
        deeper = {parent[:depth] for parent in above for depth in range(len(parent))}
        is_wrapped = any(len(own) > n_common for own in owns.values())
        shared = {parent for parent, own in owns.items() if is_wrapped and len(own) == n_common}
        return cls(
            {parent: frozenset(names) for parent, names in children.items()},
            verdicts,
            frozenset(paired),
            frozenset(outer),
            frozenset(grounds | ({()} & paired)),
            frozenset(depths),
            frozenset(in_pairs),
            frozenset(roots),
            n_common,
            frozenset(shared | deeper.intersection(roots)),
        )

    def label(self, rest: Folder) -> Class | None:
        """Give both labels of the pictures in a folder; None: its names say nothing."""
        if (depth := self._pair(rest)) is not None:
            return (1, self._generator(rest[:depth])) if verdict_of(rest[depth]) else _REAL
        for depth, part in enumerate(rest):
            parent, verdict = rest[:depth], verdict_of(part)
            is_word = verdict is not None and self._counts(depth, part)
            if parent in self.grounds:
                if is_word:
                    return (1, None) if verdict else _REAL
                if generator := as_generator(part):
                    return 1, generator
            elif is_word and depth in self.depths:
                return (1, self._generator(parent)) if verdict else _REAL
        return None

    def words(self, rest: Folder) -> list[tuple[int, str]]:
        """Give the words in a path, innermost first, without names of what pairs are in."""
        depth = self._pair(rest) or 0
        return [
            (verdict, part)
            for place, part in reversed([*enumerate(rest)])
            if (verdict := verdict_of(part)) is not None
            and not is_weak(part)
            and not (place < depth and self._is_name(rest[: place + 1]))
        ]

    def innermost(self, rest: Folder) -> str | None:
        """Give the innermost word of a path that counts among other folders, or else any."""
        words = [part for _, part in self.words(rest)]
        return next((part for part in words if self._counts(rest.index(part), part)), words[0] if words else None)

    def _counts(self, depth: int, part: str) -> bool:
        return counts_alone(part) or (depth, bare(part)) in self.in_pairs

    def _pair(self, rest: Folder) -> int | None:
        """Find the depth of the innermost class folder that is one of a pair."""
        found = (
            depth for depth, part in enumerate(rest) if verdict_of(part) is not None and rest[:depth] in self.paired
        )
        return max(found, default=None)

    def _is_name(self, folder: Folder) -> bool:
        """Tell whether a word is but the name of what pairs are in, and no class that its siblings need."""
        parent, verdict = folder[:-1], verdict_of(folder[-1])
        if verdict is None or folder not in self.outer or _is_real(folder[-1]):
            return False
        return 1 - verdict not in self.verdicts[parent] or verdict in self.verdicts[parent]

    def _generator(self, parent: Folder) -> str | None:
        if not parent or parent in self.wrappers:
            return None
        own = [part for part in _own(parent, self.roots) if not _is_of_source(part)]
        differing = [part for part in _own(parent, self.roots)[self.n_common :] if not _is_of_source(part)]
        return _as_name(differing[0] if differing else (own or parent)[-1])


def _own(parent: Folder, roots: Collection[Folder]) -> Folder:
    """Cut off the folder of a data set above its splits, unless the class folders are right below these."""
    depth = next((depth for depth in range(len(parent) - 1, 0, -1) if parent[:depth] in roots), 0)
    return parent[depth:]


def _as_name(part: str) -> str | None:
    """Return the name above a pair if a generator can be called so; ``deepfake`` is a word for AI that can."""
    return part if bare(part) in ("deepfake", "deepfakes") else as_generator(part)


def _is_of_source(part: str) -> bool:
    """Tell whether a folder is called after where real pictures are from, as in ``ADM/imagenet_ai_0508_adm``."""
    return part.lower().startswith("imagenet")


def _count_common(folders: Collection[Folder]) -> int:
    """Count the parts in front that all folders share."""
    least, most = min(folders, default=()), max(folders, default=())
    pairs = enumerate(zip(least, most, strict=False))
    return next((depth for depth, (one, other) in pairs if one != other), min(len(least), len(most)))
