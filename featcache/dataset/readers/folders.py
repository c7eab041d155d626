"""Folders of pictures: captions and more in files beside them, labels and splits in the names of folders."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featcache.dataset.readers.cells import escape_surrogates, quoted, quoted_path
from featcache.dataset.readers.folder_labels import label_by_folders
from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.left_out import Gap
from featcache.dataset.readers.narrow import parse_table
from featcache.dataset.readers.outcome import (
    MissingWords,
    OnOrphan,
    Parsed,
    check_unique,
    find_image,
    settle_orphans,
)
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.sidecars import OBJECT_FIELDS, SidecarReader
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.tree import Tree, describe, read_tree, stem_of
from featcache.dataset.sample import ImageFile, Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.identity.terms import UNKNOWN, Content

__all__ = ["parse_tree", "read_folder"]

_UNLABELLED = (None, UNKNOWN, None)


def read_folder(
    folder: Path, *, on_orphan: OnOrphan, reading: Reading, contents: Collection[Content] | None = None
) -> Parsed:
    """Read all pictures below a folder, in sorted order.

    Hidden files and folders are ignored, links to folders are not followed. The caption of ``a/1.jpg`` is that of the
    first of ``a/1.txt``, ``a/1.caption`` (UTF-8, without newlines at the end) and ``a/1.json`` (an object with
    ``caption``, ``text`` or ``prompt``) that has one. The object also says labels, split, group and origin, as in tars.
    The sample's id is ``a/1.jpg``, of several captions ``a/1.jpg#0``, …; by rules 1 ``a/1``, or ``a/1.jpg`` if another
    picture has the same stem.

    Where no object has a label, labels come from the names of folders, and so do splits
    (`featcache.dataset.readers.layout`). With ``contents`` their names mean nothing and may be in any encoding, and of
    the files beside pictures nothing but captions is read, if they are among them.

    Raises
    ------
    ManifestError
        There is no picture, a caption is not UTF-8, a name is not Unicode, labels cannot be told, or there are
        orphans: captions without picture, names of pictures that are no regular files.
    """
    tree = read_tree(folder, is_early=reading.rules == 1, takes_any_name=contents is not None)
    return parse_tree(folder, tree, on_orphan=on_orphan, reading=reading, contents=contents)


def parse_tree(
    folder: Path, tree: Tree, *, on_orphan: OnOrphan, reading: Reading, contents: Collection[Content] | None = None
) -> Parsed:
    """Turn what was found below a folder into samples, as `read_folder` does.

    Raises
    ------
    ManifestError
        As `read_folder` does.
    """
    source = _Source(folder, tree, reading, contents)
    if not tree.pictures and on_orphan != "tell":
        raise ManifestError(f"{source.where} holds no pictures{_instead(tree)}")
    captions, texts = tree.texts() if source.has_captions else ([], [])
    alone = "the caption has no picture beside it"
    orphans = [Gap(f"{folder}/{name}", f"{quoted_path(folder / name)}: {alone}") for name in captions]
    settle_orphans(orphans, len(tree.pictures), on_orphan)
    parsed = _read_objects(source, on_orphan) if source.has_objects else _read_pictures(source, on_orphan)
    one, several = "text that belongs to no picture is not read", "texts that belong to no picture are not read"
    notes = describe(texts, one, several)
    how = "name one, or the folder that it is in"
    notes += describe(
        tree.metadata, f"table of metadata is not read ({how})", f"tables of metadata are not read ({how})"
    )
    if contents is None:
        how = "name one as DATA, or call it metadata.csv"
        notes += describe(tree.tables, f"table is not read ({how})", f"tables are not read ({how})")
    return parsed._replace(orphans=(*orphans, *parsed.orphans), notes=notes + parsed.notes, left_out=tree.left_out)


@dataclass(frozen=True)
class _Source:
    """A folder, what is below it, by which rules it is read, and what for."""

    folder: Path
    tree: Tree
    reading: Reading
    contents: Collection[Content] | None

    @property
    def where(self) -> str:
        return f"folder {quoted_path(self.folder)}"

    @property
    def has_captions(self) -> bool:
        return self.contents is None or "text" in self.contents

    @property
    def fields(self) -> Sequence[str]:
        """What the object beside a picture may say."""
        return OBJECT_FIELDS[:-1] if self.contents is None else ("caption",)

    @property
    def has_objects(self) -> bool:
        """Whether there are objects beside pictures that say more than a caption, or should be."""
        if self.reading.rules < 3 or not self.has_captions:
            return False
        there = any(".json" in found for found in self.tree.sidecars.values())
        beside = there and any(".json" in self.beside(name) for name in self.tree.pictures)
        return beside or bool(self.reading.columns)

    def beside(self, name: str) -> Mapping[str, str]:
        """Return the files beside a picture, by ending."""
        return self.tree.sidecars.get(stem_of(name), {}) if self.has_captions else {}

    def sidecars(self, fields: Sequence[str] = OBJECT_FIELDS[:-1]) -> SidecarReader:
        """Return what reads the files beside pictures."""
        return SidecarReader(str(self.folder), self.reading, fields, takes_anything=self.contents is not None)

    def image(self, name: str) -> ImageFile | Gap:
        """Return a picture, or what is wrong with its file."""
        found = find_image(name, str(self.folder), takes_any_name=self.contents is not None)
        return Gap(found.path, f"{self.where}: {found.message}") if isinstance(found, Gap) else found


def _read_pictures(source: _Source, on_orphan: OnOrphan) -> Parsed:
    """Read pictures and their captions one after the other: there may be millions."""
    tree, reading = source.tree, source.reading
    if source.contents is None:
        labels, notes = label_paths(source.where, tree.pictures, reading)
    else:
        labels, notes = dict.fromkeys(map(_folders, tree.pictures), _UNLABELLED), ()
    ids = _early_ids(tree.pictures) if reading.rules == 1 else {name: escape_surrogates(name) for name in tree.pictures}
    reader, missing = source.sidecars(), MissingWords(reading)
    orphans: list[Gap] = []

    def rows() -> Iterator[Sample]:
        for name in tree.pictures:
            image = source.image(name)
            if isinstance(image, Gap):
                orphans.append(image)
                continue
            caption = reader.read(source.beside(name)).get("caption")
            text = missing.drop(caption) if isinstance(caption, str) else None
            split, label_a, label_b = labels[_folders(name)]
            yield Sample(ids[name], image, text, label_a, label_b, split, None, repr(image.path))

    samples = SampleList.of(rows())
    settle_orphans(orphans, len(samples), on_orphan)
    check_unique(samples)
    generators = tuple(sorted({*samples.class_names} - {"real"}))
    notes += missing.notes + reader.notes
    return Parsed(samples, generators, tuple(orphans), notes=notes)


def _read_objects(source: _Source, on_orphan: OnOrphan) -> Parsed:
    """Read pictures with what the objects beside them say, as in tars."""
    reader = source.sidecars(source.fields)
    said = [(name, reader.read(source.beside(name))) for name in source.tree.pictures]
    left, notes = source.reading, reader.notes
    if source.contents is None:
        notes = reader.describe(source.where, {name for _, cells in said for name in cells}) + notes
        left, more = label_by_folders(source.where, said, left)
        notes += more
    images = [(name, source.image(name), cells) for name, cells in said]
    orphans = [image for _, image, _ in images if isinstance(image, Gap)]
    settle_orphans(orphans, len(images) - len(orphans), on_orphan)
    rows = [(name, image, cells) for name, image, cells in images if not isinstance(image, Gap)]
    header = ("image", *source.fields)

    def load(positions: Sequence[int]) -> list[list[object]]:
        names = [header[position] for position in positions]
        return [[image if name == "image" else cells.get(name) for _, image, cells in rows] for name in names]

    table = Table(
        source.where,
        header,
        load,
        place=lambda row: repr(rows[row][1].path),
        reading=replace(left, columns=""),
        default_id=lambda row: escape_surrogates(rows[row][0]),
        has_texts=True,
    )
    parsed = parse_table(table, on_orphan=on_orphan, contents=source.contents)
    return parsed._replace(orphans=tuple(orphans), notes=notes + parsed.notes)


def _instead(tree: Tree) -> str:
    """Say what is there in the place of pictures, and what to do about it."""
    if tree.left_out:
        first = tree.left_out[0]
        return f" that can be taken, found {len(first.names):,} such as {quoted(first.names[0])}: {first.reason}"
    if tree.has_tars:
        return "; a folder of tars must hold nothing else, name them as 'DIR/train-{000..012}.tar'"
    return ", expected files named .jpg, .png, .webp and the like, or with the first bytes of one"


def _folders(name: str) -> tuple[str, ...]:
    return tuple(name.split("/")[:-1])


def _early_ids(pictures: Sequence[str]) -> dict[str, str]:
    counts = Counter(map(stem_of, pictures))
    ids = {name: stem_of(name) if counts[stem_of(name)] == 1 else name for name in pictures}
    # a/1.jpg with a/1.png beside a/1.jpg.gif: the whole names are the only ids that never collide
    return ids if len(set(ids.values())) == len(ids) else {name: name for name in pictures}
