import io
import json
import pickle
import re
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.archive import walk_members
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.tar_samples import TarImage
from featcache.dataset.sample import ImageSource, Sample
from featcache.errors import ManifestError
from featcache.extraction.run import extract

from factories import FakeSpec, make_cache, png

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=150)


def info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member


def write_tar(
    path: Path, members: Mapping[str, bytes | str | dict[str, object]], form: int = tarfile.PAX_FORMAT
) -> Path:
    """Write a tar; a dict becomes JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, value in members.items():
            text = json.dumps(value) if isinstance(value, dict) else value
            data = text.encode() if isinstance(text, str) else text
            tar.addfile(info(name, len(data)), io.BytesIO(data))
    return path


def write_members(path: Path, *members: tarfile.TarInfo) -> Path:
    """Write members without their data, and a good sample after them."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member)
        tar.addfile(info("good.jpg", 4), io.BytesIO(b"good"))
    return path


def read(path: Path | str) -> dict[str, Sample]:
    return {sample.sample_id: sample for sample in Manifest.from_source(path).samples}


def picture(sample: Sample) -> bytes:
    assert sample.image is not None
    return sample.image.read_bytes()


def broken(path: Path) -> list[str]:
    gaps = Manifest.from_source(path).broken
    lines = [gap.message for gap in gaps]
    assert all(Path(gap.path.partition(".tar")[0] + ".tar").is_file() for gap in gaps)
    assert all(line.isprintable() and len(line) < 500 for line in lines)
    return lines


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_one_key_are_one_sample(form: int, tmp_path: Path) -> None:
    metadata = {"Label_A": 1, "generator": "sdxl", "split": "val", "group": "g", "url": "x", "caption": "not this"}
    deep = "deep/" * 30
    members = {
        "a/1.jpg": b"one",
        "a/1.txt": "a cat\n",
        "a/1.json": metadata,
        "./2.PNG": b"two",
        f"{deep}3.webp": b"three",
        "3.caption": "no picture",
        "a/ignored.npy": b"x",
        "inner.tar": b"x",
        ".hidden.jpg": b"x",
        "__MACOSX/._1.jpg": b"x",
        ".git/4.jpg": b"x",
    }
    path = write_tar(tmp_path / "birds.tar", members, form)
    manifest = Manifest.from_source(path)
    assert (manifest.name, manifest.origin, manifest.broken, manifest.orphans) == ("birds", str(path), (), ())
    one, two, three, four = manifest.samples
    assert [s.sample_id for s in manifest.samples] == ["a/1", "2", f"{deep}3", "3"]
    assert (one.caption, one.label_a, one.label_b, one.split, one.group) == ("a cat", 1, "sdxl", "valid", "g")
    assert (one.where, picture(one), picture(two), picture(three)) == (
        "birds.tar, sample 'a/1'",
        b"one",
        b"two",
        b"three",
    )
    assert (two.caption, two.label_a, two.label_b, two.split) == (None, -1, None, None)
    assert (four.image, four.caption) == (None, "no picture")


def test_a_picture_of_a_tar_is_read_by_seeking_and_pickled(tmp_path: Path) -> None:
    data = {f"{i:03}.jpg": bytes([i]) * (i * 97) for i in range(1, 200)}
    path = write_tar(tmp_path / "a.tar", data)
    images = [sample.image for sample in read(path).values()]
    assert isinstance(images[0], ImageSource)
    assert images[0].name == f"{path} 001.jpg"
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda image: image.read_bytes(), pickle.loads(pickle.dumps(images)))) == list(
            data.values()
        )


def test_members_may_come_in_any_order(tmp_path: Path) -> None:
    pictures = {f"{i}.jpg": b"x" for i in range(3)}
    texts = {f"{i}.txt": f"caption {i}" for i in range(3)}
    for number, members in enumerate((pictures | texts, texts | pictures)):
        samples = read(write_tar(tmp_path / f"{number}.tar", members))
        assert [samples[str(i)].caption for i in range(3)] == ["caption 0", "caption 1", "caption 2"]


@pytest.mark.parametrize("order", [1, -1])
def test_precedence_does_not_depend_on_the_order(order: int, tmp_path: Path) -> None:
    members: dict[str, bytes | str | dict[str, object]] = {
        "a.jpg": b"a",
        "a.txt": "from the text",
        "a.json": {"caption": "from the object", "label_b": 3, "sample_id": "other"},
        "a.cls": "2",
        "b.jpg": b"b",
        "b.txt": " \n",
        "b.json": {"caption": "from the object", "generator": "sdxl"},
        "b.cls": "2\n",
        "c.jpg": b"c",
        "c.cls": "0",
    }
    manifest = Manifest.from_source(write_tar(tmp_path / "a.tar", dict(list(members.items())[::order])))
    found = {s.sample_id: (s.caption, s.label_a, s.label_b) for s in manifest.samples}
    assert found == {
        "other": ("from the text", 1, "3"),
        "b": ("from the object", 1, "sdxl"),
        "c": (None, 0, "real"),
    }
    assert (manifest.generators, manifest.broken) == (("sdxl", "3"), ())


def test_a_range_and_a_folder_are_read_in_order(tmp_path: Path) -> None:
    for i in range(12):
        write_tar(tmp_path / "shards" / f"train-{i:03}.tar", {f"{i}.jpg": bytes([i])})
    (tmp_path / "shards" / ".hidden").write_text("x")
    by_range = Manifest.from_source(f"{tmp_path}/shards/train-{{000..011}}.tar")
    assert [s.sample_id for s in by_range.samples] == [str(i) for i in range(12)]
    assert (by_range.name, by_range.origin) == ("shards", f"{tmp_path}/shards/train-{{000..011}}.tar")
    by_folder = Manifest.from_source(tmp_path / "shards")
    assert (by_folder.name, by_folder.samples) == ("shards", by_range.samples)
    assert {s.split for s in by_folder.samples} == {None}
    assert len(Manifest.from_source(f"{tmp_path}/shards/train-{{0..0}}{{0..1}}{{1..1}}.tar").samples) == 2


def test_a_missing_tar_of_a_range_is_an_orphan(tmp_path: Path) -> None:
    write_tar(tmp_path / "a-0.tar", {"a.jpg": b"x"})
    pattern = f"{tmp_path}/a-{{0..2}}.tar"
    with pytest.raises(ManifestError, match=r"no file '.*\(and 1 more row\).*--on-orphan skip"):
        Manifest.from_source(pattern)
    manifest = Manifest.from_source(pattern, on_orphan="skip")
    assert (len(manifest.samples), len(manifest.orphans), manifest.name) == (1, 2, "a")


@pytest.mark.parametrize("numbers", ["{2..1}", "{0..999999999}", "{0..999}{0..999}"])
def test_a_range_is_bounded(numbers: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="expected 1 to 100000 tars"):
        Manifest.from_source(f"{tmp_path}/a-{numbers}.tar")


def test_a_file_with_braces_in_its_name_is_itself(tmp_path: Path) -> None:
    assert list(read(write_tar(tmp_path / "a-{0..1}.tar", {"a.jpg": b"x"}))) == ["a"]


def test_a_folder_of_tars_and_other_files_says_how_to_name_them(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a.jpg": b"x"})
    (tmp_path / "stats.json").write_text("{}")
    with pytest.raises(ManifestError, match=r"holds no pictures.*train-\{000\.\.012\}\.tar"):
        Manifest.from_source(tmp_path)


def test_tars_named_after_different_splits_give_them(tmp_path: Path) -> None:
    for name in ("train-0", "val-0", "test_0"):
        write_tar(
            tmp_path / f"{name}.tar", {f"{name}.jpg": b"x", f"{name}.json": {"split": "test"} if "v" in name else {}}
        )
    assert {key: s.split for key, s in read(tmp_path).items()} == {
        "train-0": "train",
        "val-0": "test",
        "test_0": "test",
    }
    write_tar(tmp_path / "more.tar", {"more.jpg": b"x"})
    assert {s.split for s in read(tmp_path).values()} == {None, "test"}
    (tmp_path / "y").mkdir()
    for name in ("train2017", "val2017"):
        write_tar(tmp_path / "y" / f"{name}.tar", {f"{name}.jpg": b"x"})
    assert [s.split for s in read(tmp_path / "y").values()] == ["train", "valid"]
    before = Manifest.from_source(tmp_path / "y", earlier=lambda _: Reading(rules=2))
    assert {s.split for s in before.samples} == {None}


def test_a_key_in_two_tars_is_refused_naming_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", {"x/1.jpg": name.encode()})
    message = r"b\.tar, sample 'x/1': sample_id 'x/1' is taken by a\.tar, sample 'x/1'"
    with pytest.raises(ManifestError, match=message):
        Manifest.from_source(tmp_path)


def test_a_second_member_of_one_role_is_named_and_not_used(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"first", "a.png": b"second"})
    assert picture(read(path)["a"]) == b"first"
    assert broken(path) == ["a.tar, member 'a.png': sample 'a' has another image before it, which is used"]


def test_a_key_ends_at_its_first_dot_and_what_gets_lost_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "a.seg.png": b"y", "photo.2020.jpg": b"z"})
    assert list(read(path)) == ["a"]
    assert broken(path) == [
        "a.tar, sample 'photo': expected a picture named like 'photo.jpg', found 'photo.2020.jpg': its key ends at the "
        "first dot"
    ]
    (left,) = Manifest.from_source(path).left_out
    assert left.names == ("a.tar/a.seg.png",)


def test_each_picture_of_a_key_with_dots_is_a_fault_of_its_own(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "v1.5-1.jpg": b"y", "v1.5-2.png": b"z", "v1.txt": b"a cat"})
    assert list(read(path)) == ["a", "v1"]
    assert [line.partition("found ")[2] for line in broken(path)] == [
        "'v1.5-1.jpg': its key ends at the first dot",
        "'v1.5-2.png': its key ends at the first dot",
    ]


@pytest.mark.parametrize(
    ("sidecar", "data", "reason"),
    [
        ("json", b"{", "the metadata cannot be read"),
        ("json", b"[1]", "expected an object, found [1]"),
        ("json", b"[" * 100_000, "the metadata cannot be read"),
        ("json", b'{"label_a": ' + b"9" * 5000 + b"}", "the metadata cannot be read"),
        ("json", b'{"label_a": 0, "label_a": 1}', "'label_a' occurs twice"),
        ("json", b'{"label_a": 0, "Label_A": 1}', "not by case alone"),
        ("json", b'{"caption": "\\ud800"}', "lone surrogate"),
        ("json", b'{"caption": "a\\u0000b"}', "without NUL"),
        ("json", b"\xff\xfe\xff", "the metadata cannot be read"),
        ("json", b" " * (2**20 + 1), "expected at most 1048576 bytes"),
        ("txt", b"caf\xe9", "expected UTF-8, found 0xe9 at byte 3"),
        ("caption", b"a\0b", "without NUL"),
        ("cls", b"sdxl\x1b[31m", r"expected a whole number, found 'sdxl\x1b[31m'"),
        ("cls", b"1.5", "expected a whole number"),
        ("cls", b"9" * 10, "expected a whole number"),
    ],
)
def test_a_broken_sidecar_is_named_and_its_sample_kept(sidecar: str, data: bytes, reason: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", f"a.{sidecar}": data, "b.jpg": b"y", "b.txt": "a cat"})
    samples = read(path)
    assert (samples["a"].caption, samples["a"].label_a, picture(samples["a"])) == (None, -1, b"x")
    assert samples["b"].caption == "a cat"
    (line,) = broken(path)
    assert line.startswith(f"a.tar, member 'a.{sidecar}': ") and reason in line


def test_what_is_readable_of_an_object_is_kept(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "a.json": b'{"caption": "\\ud800", "label_b": "sdxl"}'})
    assert (read(path)["a"].label_b, len(broken(path))) == ("sdxl", 1)


def test_a_wrong_label_is_refused_as_in_tables(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "a.json": {"label_a": "maybe"}})
    with pytest.raises(ManifestError, match=r"a\.tar, sample 'a', column 'label_a': unknown label 'maybe'"):
        Manifest.from_source(path)


def test_metadata_alone_are_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "b.json": {"label_a": 1}, "c.json": {"caption": "c"}})
    assert list(read(path)) == ["a", "c"]
    assert broken(path) == ["a.tar, sample 'b': found neither picture nor caption"]


@pytest.mark.parametrize("cut", range(0, 6 * 512, 100))
def test_a_cut_tar_ends_with_what_was_readable(cut: int, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"a" * 600, "a.txt": "a cat", "b.jpg": b"b" * 700})
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    if cut < 512:
        with pytest.raises(ManifestError, match=r"no samples in .*: the tar ends"):
            Manifest.from_source(path)
        return
    manifest = Manifest.from_source(path)
    assert 1 <= len(manifest.broken) <= 2 and any(": the tar " in gap.message for gap in manifest.broken)
    for sample, data in zip(manifest.samples, (b"a" * 600, b"b" * 700), strict=False):
        assert sample.image is not None
        if isinstance(sample.image, TarImage) and sample.image.offset + len(data) > cut:
            with pytest.raises(OSError, match=r"claims .* bytes and has"):
                sample.image.read_bytes()
        else:
            assert picture(sample) == data


def test_a_cut_tar_is_extracted_as_far_as_it_goes(tmp_path: Path) -> None:
    pictures = {f"{i}.png": png(i) for i in range(3)}
    path = write_tar(tmp_path / "a.tar", pictures)
    path.write_bytes(path.read_bytes()[: 2 * 1024 + 512 + 100])  # within the third picture
    manifest = Manifest.from_source(path)
    result = extract(manifest, make_cache(tmp_path / "cache"), [FakeSpec("image")])
    assert (result.n_samples, result.n_encoded, len(manifest.broken)) == (3, 2, 1)
    assert [f.stage for f in result.unreadable] == ["read"]


def test_a_tar_without_end_mark_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"a"})
    path.write_bytes(path.read_bytes()[:1024])
    assert picture(read(path)["a"]) == b"a"
    assert broken(path) == ["a.tar: the tar ends at byte 1024 without its end mark, so members may be missing"]


@pytest.mark.parametrize("rest", [b"\xff" * 512, b"x" * 5000, b"\0" * 1024 + b"second tar"])
def test_what_follows_the_last_good_member_is_named(rest: bytes, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"a"})
    path.write_bytes(path.read_bytes()[:1024] + rest)
    assert list(read(path)) == ["a"]
    (line,) = broken(path)
    assert re.search(r"no valid header at byte 1024|data after its end mark at byte 1024", line)


def test_one_broken_tar_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"garbage" * 1000)
    (tmp_path / "b.tar").write_bytes(b"")
    write_tar(tmp_path / "c.tar", {"c.jpg": b"x"})
    assert list(read(tmp_path)) == ["c"]
    assert [line.split(":")[0] for line in broken(tmp_path)] == ["a.tar", "b.tar"]


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_compressed_tar_of_a_plain_name_is_refused(compression: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", f"w:{compression}") as tar:  # type: ignore[call-overload]
        tar.addfile(info("a.jpg", 1), io.BytesIO(b"x"))
    with pytest.raises(ManifestError, match="compressed, expected a plain tar"):
        Manifest.from_source(tmp_path / "a.tar")


def test_a_picture_of_a_vanished_or_shortened_tar_is_an_os_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x" * 5000})
    sample = read(path)["a"]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(OSError, match="5000 bytes and has 488"):
        picture(sample)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        picture(sample)


@pytest.mark.parametrize(
    "name", ["/etc/a.jpg", "../a.jpg", "x/../a.jpg", "x/..", "\udcff.jpg", "x" * 5000 + ".jpg", " .jpg"]
)
def test_a_member_of_a_hostile_name_is_refused(name: str, tmp_path: Path) -> None:
    path = write_members(tmp_path / "a.tar", info(name))
    assert list(read(path)) == ["good"]
    assert len(broken(path)) == 1


@pytest.mark.parametrize("name", ["\x1b[31m\x07.jpg", "a\nb.jpg", "\u202ea.jpg", "日本.jpg", "C:\\a.jpg"])
def test_a_name_of_odd_characters_is_a_key_like_others(name: str, tmp_path: Path) -> None:
    manifest = Manifest.from_source(write_members(tmp_path / "a.tar", info(name)))
    assert [s.sample_id for s in manifest.samples] == [name[:-4], "good"]
    assert all(s.where.isprintable() for s in manifest.samples)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z", b"M"]
)
def test_what_is_no_regular_file_is_never_followed(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    member = info("a.txt", kind=kind)
    member.linkname = str(tmp_path / "secret")
    path = write_members(tmp_path / "a.tar", member, info("folder", kind=tarfile.DIRTYPE))
    assert list(read(path)) == ["good"]
    (line,) = broken(path)
    assert line.startswith("a.tar, member 'a.txt': ")


def raw_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A header with any bytes as its size, and the right checksum."""
    block = name.ljust(100, b"\0") + b"0000644\0" * 3 + size.ljust(12, b"\0") + b"00000000000\0" + b" " * 8 + kind
    block = block.ljust(257, b"\0") + b"ustar\00000"
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


GOOD = raw_header(b"good.jpg", b"4") + b"good".ljust(512, b"\0")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "size",
    [
        b"77777777777",
        b"\x80" + b"\xff" * 11,
        b"\xff" * 12,
        b"\xff" + b"\0" * 11,
        b"-1",
        b"-777",
        b"99",
        b"0o17x",
        b"\xfe",
    ],
)
@pytest.mark.parametrize("kind", [b"0", b"x", b"L", b"K", b"g", b"S", b"7", b"?"])
def test_an_impossible_size_ends_the_tar(size: bytes, kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(GOOD + raw_header(b"bad.txt", size, kind) + b"x" * 2048 + bytes(1024))
    manifest = Manifest.from_source(path)
    assert [s.sample_id for s in manifest.samples] == ["good"]
    assert any(": the tar " in gap.message for gap in manifest.broken)


def extended(kind: bytes, data: bytes) -> bytes:
    return raw_header(b"x", b"%o" % len(data), kind) + data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (record(b"path", b"../x.jpg"), "'..'"),
        (record(b"path", b"\xff.jpg"), "not UTF-8"),
        (record(b"path", b"a\0b.jpg"), "NUL"),
        (record(b"path", b""), "0 characters"),
        (record(b"path", b"y" * 9000), "9000 characters"),
        (record(b"size", b"9" * 30), "the size"),
        (record(b"size", b"-5"), "the size"),
        (record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"9" * 18), "sparse"),
        (record(b"x", b"y" * 2**20), "extended header of"),
        (b"1" * 2**19, "broken extended header"),
        (b"9" * 19 + b" path=x\n", "broken extended header"),
        (b"0 path=x\n", "broken extended header"),
        (b"garbage", "broken extended header"),
    ],
)
def test_a_hostile_extended_header_costs_its_member_alone(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(extended(b"x", data) + raw_header(b"bad.jpg", b"0") + GOOD + bytes(1024))
    assert list(read(path)) == ["good"]
    (line,) = broken(path)
    assert reason in line


def test_a_size_of_a_pax_header_beyond_the_file_ends_the_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(GOOD + extended(b"x", record(b"size", b"9" * 18)) + raw_header(b"bad.jpg", b"0") + bytes(1024))
    samples = read(path)
    assert picture(samples["good"]) == b"good"
    with pytest.raises(OSError, match="claims"):
        picture(samples["bad"])


@pytest.mark.slow
@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_chain_of_extended_headers_is_walked_in_bounded_memory(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    data = b"name.jpg\0" if kind in b"LK" else record(b"path", b"name.jpg")
    path.write_bytes(extended(kind, data) * 20_000 + GOOD + bytes(1024))
    assert list(read(path)) == ["name" if kind in b"xL" else "good"]


def test_the_map_of_a_sparse_file_is_skipped(tmp_path: Path) -> None:
    first = bytearray(raw_header(b"sparse.jpg", b"4", b"S"))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    maps = (bytes(504) + b"\1").ljust(512, b"\0") + bytes(512)
    (tmp_path / "a.tar").write_bytes(bytes(first) + maps + b"data".ljust(512, b"\0") + GOOD + bytes(1024))
    assert list(read(tmp_path / "a.tar")) == ["good"]
    assert broken(tmp_path / "a.tar") == ["a.tar, member 'sparse.jpg': is a sparse file"]


def test_faults_are_bounded_in_number_and_counted(tmp_path: Path) -> None:
    members = [info(f"{i}.jpg", kind=tarfile.SYMTYPE) for i in range(150)]
    lines = broken(write_members(tmp_path / "a.tar", *members))
    assert (len(lines), lines[-1]) == (101, "a.tar: and 50 more")


@pytest.mark.timeout(60)
@pytest.mark.slow
def test_a_hundred_thousand_empty_members_are_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"".join(raw_header(b"%06d.jpg" % i, b"0") for i in range(100_000)) + bytes(1024))
    assert len(Manifest.from_source(path).samples) == 100_000
    path.write_bytes(raw_header(b"a.jpg", b"0") * 100_000 + bytes(1024))
    manifest = Manifest.from_source(path)
    assert (len(manifest.samples), len(manifest.broken)) == (1, 101)


@given(
    names=st.lists(NAMES, min_size=1, max_size=5),
    data=st.binary(max_size=1500),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_those_that_the_standard_library_finds(names: list[str], data: bytes, form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name in names:
            try:
                tar.addfile(info(name, len(data)), io.BytesIO(data))
            except ValueError:  # too long for ustar
                continue
    buffer.seek(0)
    with tarfile.open(fileobj=buffer, mode="r:") as tar:
        expected = [(m.name.rstrip("/"), m.offset_data, m.size) for m in tar]
    members = walk_members(buffer, len(buffer.getvalue()))
    assert [(m.name.rstrip("/"), m.offset, m.size) for m in members] == expected


@given(st.data())
def test_a_tar_of_any_bytes_ends_in_samples_or_one_error(data: st.DataObject) -> None:
    whole = (
        GOOD + extended(b"x", record(b"path", b"b.jpg")) + raw_header(b"b.jpg", b"7") + bytes(512) + GOOD + bytes(1024)
    )
    flipped = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        flipped[place] = data.draw(st.integers(0, 255))
    cut = flipped[: data.draw(st.integers(0, len(whole)))]
    members = []
    try:
        members += list(walk_members(io.BytesIO(cut), len(cut)))
    except tarfile.ReadError as error:
        assert str(error).isprintable()
    assert len(members) <= len(whole) // 512


def test_what_img2dataset_writes_beside_its_tars_is_no_stranger(tmp_path: Path) -> None:
    for shard in ("00000", "00001"):
        key = f"{shard}0000"
        row = {"key": key, "url": "http://a", "caption": "not this", "status": "success", "error_message": None}
        members = {f"{key}.jpg": key.encode(), f"{key}.txt": f"caption of {key}", f"{key}.json": row}
        write_tar(tmp_path / f"{shard}.tar", members)
        (tmp_path / f"{shard}.parquet").write_bytes(b"PAR1, about the tar")
        (tmp_path / f"{shard}_stats.json").write_text('{"count": 1}')
    samples = read(tmp_path)
    assert {key: (picture(s), s.caption) for key, s in samples.items()} == {
        key: (key.encode(), f"caption of {key}") for key in ("000000000", "000010000")
    }


@pytest.mark.parametrize("stranger", ["00001.parquet", "stats.json", "notes.txt", "00000.json"])
def test_what_belongs_to_no_tar_is_a_stranger_still(stranger: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", {"a.jpg": b"a"})
    (tmp_path / stranger).write_bytes(b"x")
    with pytest.raises(ManifestError, match="a folder of tars must hold nothing else"):
        Manifest.from_source(tmp_path)


def test_a_pattern_stands_for_the_tars_that_it_matches(tmp_path: Path) -> None:
    for number in range(12):
        write_tar(tmp_path / "birds" / f"train-{number:03}.tar", {f"{number}.jpg": b"x"})
    write_tar(tmp_path / "birds" / "other.tar", {"other.jpg": b"x"})
    manifest = Manifest.from_source(tmp_path / "birds" / "train-*.tar")
    assert [s.sample_id for s in manifest.samples] == [str(number) for number in range(12)]
    assert manifest.name == "birds"


def test_a_caption_of_a_tars_metadata_may_be_a_list(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.json": {"caption": ["one", "two"]}})
    samples = read(tmp_path / "a.tar")
    assert {key: (s.caption, s.group, picture(s)) for key, s in samples.items()} == {
        "1#0": ("one", "1", b"x"),
        "1#1": ("two", "1", b"x"),
    }


def test_columns_of_tars_are_keys_of_their_metadata(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.txt": "not this", "1.json": {"Alt": "a cat", "fake": 1}})
    assert Manifest.from_source(path).notes[0].startswith("'fake' is not read: --column label_a=fake")
    (sample,) = Manifest.from_source(path, columns="caption=alt,label_a=fake").samples
    assert (sample.caption, sample.label_a) == ("a cat", 1)
    with pytest.raises(ManifestError, match=r"--column group='x': .* beside a picture of a\.tar, found 'Alt', 'fake'"):
        Manifest.from_source(path, columns="group=x")
    with pytest.raises(ManifestError, match="this cache has it from an earlier version"):
        Manifest.from_source(path, columns="group=x", earlier=lambda _: Reading(rules=2))


def test_the_folders_in_keys_give_labels_and_splits_where_no_sample_has_a_label(tmp_path: Path) -> None:
    members = {f"{split}/ADM/{word}/1.jpg": b"x" for split in ("train", "val") for word in ("nature", "ai")}
    members |= {"train/deepfake/nature/1.jpg": b"x", "train/deepfake/ai/1.jpg": b"x"}
    path = write_tar(tmp_path / "a.tar", members | {"train/ADM/ai/1.txt": "nan"})

    def found(labels: str | None = None) -> dict[str, tuple[str | None, int, str | None]]:
        samples = Manifest.from_source(path, labels=labels).samples
        return {sample.sample_id: (sample.split, sample.label_a, sample.label_b) for sample in samples}

    assert found() == {
        "train/ADM/nature/1": ("train", 0, "real"),
        "train/ADM/ai/1": ("train", 1, "ADM"),
        "val/ADM/nature/1": ("valid", 0, "real"),
        "val/ADM/ai/1": ("valid", 1, "ADM"),
        "train/deepfake/nature/1": ("train", 0, "real"),
        "train/deepfake/ai/1": ("train", 1, "deepfake"),
    }
    assert found("nature=ai,ai=real")["train/ADM/nature/1"] == ("train", 1, None)
    assert set(found("none").values()) == {("train", -1, None), ("valid", -1, None)}
    assert Manifest.from_source(path).notes == ("1 caption such as 'nan': taken for missing",)
    early = Manifest.from_source(path, earlier=lambda _: Reading(rules=1)).samples
    assert {(sample.split, sample.label_a) for sample in early} == {(None, -1)}


def test_labels_of_samples_go_before_folders_in_keys(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"real/1.jpg": b"x", "fake/2.jpg": b"x", "fake/2.cls": "0"})
    assert {key: sample.label_a for key, sample in read(path).items()} == {"real/1": -1, "fake/2": 0}


@pytest.mark.parametrize(("text", "label"), [("0", 0), ("real", 0), ("Fake", 1), ("3", 1), ("nature\n", 0)])
def test_a_class_is_a_number_or_a_word(text: str, label: int, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "a.cls": text})
    assert read(path)["a"].label_a == label


def test_what_is_stated_holds_for_classes_in_tars(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "a.cls": "1", "b.jpg": b"x", "b.cls": "0"})
    samples = Manifest.from_source(path, labels="1=real,0=ai").samples
    assert [(sample.label_a, sample.label_b) for sample in samples] == [(0, "real"), (1, None)]
