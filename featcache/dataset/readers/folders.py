"""Folders of pictures: captions in files beside them, labels and splits in the names of folders."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from featcache.dataset.readers.cells import escape_surrogates, quoted
from featcache.dataset.readers.layout import label_paths
from featcache.dataset.readers.left_out import Gap
from featcache.dataset.readers.outcome import OnOrphan, Parsed, check_unique, find_image, settle_orphans
from featcache.dataset.readers.reading import LATEST, Reading
from featcache.dataset.readers.sidecars import CaptionReader
from featcache.dataset.readers.tree import Tree, describe, read_tree, stem_of
from featcache.dataset.sample import Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.identity.terms import UNKNOWN, Content

__all__ = ["read_folder"]

_UNLABELLED = (None, UNKNOWN, None)


def read_folder(
    folder: Path, *, on_orphan: OnOrphan, reading: Reading, contents: Collection[Content] | None = None
) -> Parsed:
    """Read all pictures below a folder, in sorted order.

    Hidden files and folders are ignored, links to folders are not followed. The caption of ``a/1.jpg`` is that of the
    first of ``a/1.txt``, ``a/1.caption`` (UTF-8, without newlines at the end) and ``a/1.json`` (an object with
    ``caption``, ``text`` or ``prompt``) that has one. The sample's id is ``a/1.jpg``; by rules 1 ``a/1``, or
    ``a/1.jpg`` if another picture has the same stem.

    Splits and labels come from the names of folders (`featcache.dataset.readers.layout`). With ``contents`` their names
    mean nothing and may be in any encoding, and captions are read only if they are among them.

    Raises
    ------
    ManifestError
        There is no picture, a caption is not UTF-8, a name is not Unicode, labels cannot be told, or there are
        orphans: captions without picture, names of pictures that are no regular files.
    """
    where, is_early = f"folder {quoted(str(folder))}", reading.rules < LATEST
    tree = read_tree(folder, is_early=is_early, takes_any_name=contents is not None)
    if not tree.pictures:
        raise ManifestError(f"{where} holds no pictures{_instead(tree)}")
    if contents is None:
        labels, notes = label_paths(where, tree.pictures, reading)
    else:
        labels, notes = dict.fromkeys(map(_folders, tree.pictures), _UNLABELLED), ()
    ids = _early_ids(tree.pictures) if is_early else {name: escape_surrogates(name) for name in tree.pictures}
    has_captions = contents is None or "text" in contents
    captions, texts = tree.texts() if has_captions else ([], [])
    alone = "the caption has no picture beside it"
    orphans = [Gap(f"{folder}/{name}", f"{quoted(str(folder / name))}: {alone}") for name in captions]
    notes += describe(texts, "texts that belong to no picture are not read")
    notes += describe(tree.metadata, "tables of metadata are not read: name one, or the folder that it is in")
    reader = CaptionReader(str(folder), reading)

    def rows() -> Iterator[Sample]:
        for name in tree.pictures:
            image = find_image(name, str(folder), takes_any_name=contents is not None)
            if isinstance(image, Gap):
                orphans.append(Gap(image.path, f"{where}: {image.message}"))
                continue
            caption = reader.read(tree.sidecars.get(stem_of(name), {})) if has_captions else None
            split, label_a, label_b = labels[_folders(name)]
            yield Sample(ids[name], image, caption, label_a, label_b, split, None, repr(image.path))

    samples = SampleList.of(rows())
    settle_orphans(orphans, len(samples), on_orphan)
    check_unique(samples)
    generators = tuple(sorted({*samples.class_names} - {"real"}))
    return Parsed(samples, generators, tuple(orphans), notes=notes + reader.notes, left_out=tree.left_out)


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
