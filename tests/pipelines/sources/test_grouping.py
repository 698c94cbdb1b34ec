"""Which members make a record, which image is its own, and where every other member is counted."""

import io
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import InputShard, Ledger, fetch, read
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.grouping import split_name
from pipelines.sources.ledger import Unused
from schemas.errors import ChangedError
from schemas.row import RawRow, image_name
from schemas.sample import Example, Image, ImageRef, Text, Turn, caption_example
from tests.pipelines.corpora import alone
from tests.pipelines.raw import picture

TarWriter = Callable[..., Path]
Sharder = Callable[..., InputShard]

PNG = b"\x89PNG\r\n\x1a\n"


def told(
    shard: InputShard, columns: Columns | None = None, limits: ReadLimits | None = None
) -> tuple[list[RawRow], Ledger]:
    """The rows of a tar and its ledger."""
    ledgers: list[Ledger] = []
    rows = list(read(shard, columns or Columns(), limits=limits or ReadLimits(), ledgers=ledgers))
    (ledger,) = ledgers
    return rows, ledger


def adds_up(ledger: Ledger) -> bool:
    return ledger.members == ledger.used + ledger.metadata + sum(
        one.members for one in ledger.unused.values()
    )


def test_dotted_names_are_split_at_the_last_dot(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Where the first dot would merge two images, each image is a row with its own caption."""
    members = [
        (f"{key}.{suffix}", data)
        for key in ("shop_12.50_red", "shop_12.99_blue", "shop_7.25_green", "plain")
        for suffix, data in (("jpg", key.encode()), ("txt", f"about {key}".encode()))
    ]
    shard = shard_of(write_tar(members))
    rows, ledger = told(shard)
    assert [row.member for row in rows] == ["shop_12.50_red", "shop_12.99_blue", "shop_7.25_green", "plain"]
    assert all(row.image == row.member.encode() for row in rows)
    assert all(row.caption == f"about {row.member}".encode() for row in rows)
    assert ledger.last_dot
    assert adds_up(ledger)
    found = dict(fetch(shard, Columns(), [(row.member, None) for row in rows]))
    assert found == {row.member: row.image for row in rows}


def test_a_dotted_name_alone_keeps_its_caption(write_tar: TarWriter, shard_of: Sharder) -> None:
    """A text that only the last dot joins to its image is not lost, though no images are merged."""
    rows, ledger = told(
        shard_of(write_tar([("v1.5.jpg", b"1"), ("v1.5.txt", b"one"), ("w2.jpg", b"2"), ("w2.txt", b"two")]))
    )
    assert [(row.member, row.caption) for row in rows] == [("v1.5", b"one"), ("w2", b"two")]
    assert ledger.last_dot


@pytest.mark.parametrize(("names", "count"), [("first_dot", 1), ("last_dot", 2), ("auto", 2)])
def test_the_recipe_says_where_keys_end(
    write_tar: TarWriter, shard_of: Sharder, names: str, count: int
) -> None:
    """`read.names` overrules what the tar looks like."""
    shard = shard_of(write_tar([("a.1.jpg", b"1"), ("a.2.jpg", b"2")]))
    rows, ledger = told(shard, limits=ReadLimits.model_validate({"names": names}))
    assert len(rows) == count
    assert ledger.last_dot == (count == 2)


def test_the_last_dot_splits_names() -> None:
    """The key keeps all dots but the last one of a name; hidden files have no key."""
    assert split_name("d.x/a.b.JPG", last_dot=True) == ("d.x/a.b", "jpg")
    assert split_name("plain", last_dot=True) == ("plain", "")
    assert split_name("d/.x.jpg", last_dot=True)[0] == ""


@pytest.mark.parametrize("suffixes", [("0.jpg", "1.jpg"), ("jpg", "png"), ("jpg", "1.jpg", "2.jpg")])
def test_several_images_of_a_record_are_named(
    write_tar: TarWriter, shard_of: Sharder, suffixes: tuple[str, ...]
) -> None:
    """Images that share a caption are one row with a reason that names them, never the first in silence."""
    members = [(f"a.{suffix}", b"1") for suffix in suffixes]
    (row,), ledger = told(shard_of(write_tar([*members, ("a.txt", b"a cat")])))
    assert row.image is None
    assert row.error is not None
    assert row.error.kind == "several_images"
    assert all(suffix in row.error.message for suffix in suffixes)
    assert (ledger.used, ledger.images) == (len(suffixes) + 1, len(suffixes))


def test_several_images_stand_in_the_order_of_their_numbers(write_tar: TarWriter, shard_of: Sharder) -> None:
    """On request a record has all of them: numbers count as numbers, and each image is fetched by its own name."""
    suffixes = ["jpg", *(f"{number}.{'png' if number % 2 else 'jpg'}" for number in range(12))]
    members = [(f"a.{suffix}", suffix.encode()) for suffix in suffixes]
    random.Random(0).shuffle(members)
    for mode in ("w", "w:gz"):
        shard = shard_of(write_tar([*members, ("a.txt", b"a cat")], mode=mode))
        (row,) = read(shard, Columns(), several=True)
        assert row.error is None
        images = {"a": row.image} | {image_name("a", n): one.data for n, one in enumerate(row.further, 1)}
        assert list(images.values()) == [suffix.encode() for suffix in suffixes]
        offsets = [row.offset, *(one.offset for one in row.further)]
        assert all((offset is None) == (mode == "w:gz") for offset in offsets)
        wanted = list(zip(images, offsets, strict=True))
        for some in (wanted, wanted[3:1:-1], [(name, None) for name, _ in wanted]):
            assert list(fetch(shard, Columns(), some)) == [(name, images[name]) for name, _ in some]


def test_a_further_image_that_is_gone_is_a_change(write_tar: TarWriter, shard_of: Sharder) -> None:
    """A record that has fewer images than were measured has changed."""
    shard = shard_of(write_tar([("a.0.jpg", b"1"), ("a.1.jpg", b"2"), ("a.txt", b"a cat")]))
    with pytest.raises(ChangedError, match="no longer holds image 3 of 'a'"):
        list(fetch(shard, Columns(), [(image_name("a", 2), None)]))


def test_hard_links_to_further_images_are_followed(tmp_path: Path, shard_of: Sharder) -> None:
    """Each of several images may be a link."""
    links = [("./c.0.jpg", "./b.jpg", tarfile.LNKTYPE), ("./c.1.jpg", "./a.jpg", tarfile.LNKTYPE)]
    path = linked(tmp_path / "a.tar", [*links, ("./c.txt", "./a.txt", tarfile.LNKTYPE)])
    *_, row = read(shard_of(path), Columns(), several=True)
    assert (row.image, [one.data for one in row.further]) == (b"22", [b"1"])


@pytest.mark.parametrize(
    ("suffixes", "columns", "taken"),
    [
        (("jpg", "seg.png"), Columns(), [b"jpg"]),
        (("jpg", "png"), Columns(image=("png",)), [b"png"]),
        (("jpg", "png"), Columns(), [b"jpg", b"png"]),
    ],
)
def test_an_image_that_is_the_row_s_own_stands_alone(
    write_tar: TarWriter, shard_of: Sharder, suffixes: tuple[str, ...], columns: Columns, taken: list[bytes]
) -> None:
    """A mask beside a photograph, and images that the recipe does not name, are no further images."""
    members = [(f"a.{suffix}", suffix.encode()) for suffix in suffixes]
    (row,) = read(shard_of(write_tar([*members, ("a.txt", b"a cat")])), columns, several=True)
    assert [row.image, *(one.data for one in row.further)] == taken


def test_a_sample_of_ours_has_the_images_that_it_describes(write_tar: TarWriter, shard_of: Sharder) -> None:
    """One whose images are not all there is a bad row: its turns would show what is missing."""
    image = Image("JPEG", 1, 1, "0" * 64)
    turn = Turn("document", (ImageRef(1), Text("two boats", True), ImageRef(0)))
    sample = alone(Example("k-chat-0", "chat", "train", "en", "web", "unknown", (image, image), (turn,)))
    members = [("k.json", sample.to_json().encode()), ("k.0.jpg", b"1"), ("k.1.jpg", b"2")]
    (row,) = read(shard_of(write_tar(members)), Columns(), several=True)
    assert (row.written, row.caption, row.error) == (sample, b"two boats", None)
    for more in ([("k.2.jpg", b"3")], []):
        (row,) = read(shard_of(write_tar([*members[: 3 if more else 2], *more])), Columns(), several=True)
        assert row.error is not None
        assert f"describes 2 images, but {len(more) * 2 + 1} are stored" in row.error.message


def test_the_recipe_names_one_of_several_images(write_tar: TarWriter, shard_of: Sharder) -> None:
    """With `columns: {image: …}` that image is taken, the first name first, and the others are in the ledger."""
    shard = shard_of(write_tar([("a.jpg", b"photo"), ("a.png", b"mask"), ("a.txt", b"a cat")]))
    for suffixes, data, other in (
        (("jpg",), b"photo", "a.png"),
        (("png",), b"mask", "a.jpg"),
        (("png", "jpg"), b"mask", "a.jpg"),
    ):
        (row,), ledger = told(shard, Columns(image=suffixes))
        assert (row.image, row.error) == (data, None)
        assert (ledger.used, ledger.metadata, ledger.images) == (2, 0, 2)
        assert ledger.unused["other_image"].examples == [other]
        assert adds_up(ledger)


def test_the_image_that_the_recipe_names_keeps_its_key(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Without any text the mask `seg.png` is a row of its own, unless the recipe says that `jpg` is the image."""
    shard = shard_of(write_tar([("a.jpg", b"photo"), ("a.seg.png", b"mask")]))
    assert [row.member for row in told(shard)[0]] == ["a", "a.seg"]
    (row,), ledger = told(shard, Columns(image=("jpg",)))
    assert (row.member, row.image) == ("a", b"photo")
    assert ledger.unused["other_image"].examples == ["a.seg.png"]


def test_an_image_beside_the_row_s_own_is_counted(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Of a photograph and its mask `seg.png` the row takes the photograph; the mask is in the ledger."""
    shard = shard_of(write_tar([("a.seg.png", b"mask"), ("a.jpg", b"photo"), ("a.txt", b"a cat")]))
    (row,), ledger = told(shard)
    assert (row.image, row.error) == (b"photo", None)
    assert ledger.unused["other_image"].examples == ["a.seg.png"]
    assert ledger.unused["other_image"].images == 1
    assert adds_up(ledger)


def test_members_that_no_row_uses_are_named(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Images under unknown names, labels without an image and hidden files are counted with examples."""
    shard = shard_of(
        write_tar(
            [
                ("a.jpg", b"1"),
                ("a.cls", b"7"),
                ("b.jpg_large", picture(1)),
                ("c.jpg_large", picture(2)),
                ("d.cls", b"7"),
                ("._a.jpg", b"\0\5\26\7"),
                ("README", b"read me"),
            ]
        )
    )
    rows, ledger = told(shard)
    assert [row.member for row in rows] == ["a"]
    assert (ledger.members, ledger.used, ledger.metadata, ledger.images) == (7, 1, 1, 3)
    assert ledger.unused["no_row"].members == 4
    assert ledger.unused["no_row"].images == 2
    assert ledger.unused["no_row"].examples == ["b.jpg_large", "c.jpg_large", "d.cls"]
    assert ledger.unused["hidden"].examples == ["._a.jpg"]


def test_an_unknown_image_of_a_row_is_counted(write_tar: TarWriter, shard_of: Sharder) -> None:
    """A caption whose image has a name that announces none is a row without image, and the image is named."""
    (row,), ledger = told(shard_of(write_tar([("a.txt", b"a cat"), ("a.photo", picture(1))])))
    assert row.error is not None
    assert row.error.kind == "no_image"
    assert ledger.unused["no_row"].examples == ["a.photo"]
    (row,), ledger = told(
        shard_of(write_tar([("a.txt", b"a cat"), ("a.photo", picture(1))])), Columns(image=("photo",))
    )
    assert (row.error, ledger.unused) == (None, {})


NAMES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "a.1", "b.2", ".h", "d/a"]),
        st.sampled_from(["jpg", "png", "txt", "json", "cls", "0.jpg", "1.jpg", "JPG", "x_large", ""]),
        st.sampled_from([b"{}", PNG + b"x", b""]),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(NAMES, st.integers(0, 2**32))
def test_every_member_is_accounted_for(
    write_tar: TarWriter, shard_of: Sharder, parts: list[tuple[str, str, bytes]], seed: int
) -> None:
    """Whatever the names and their order: members = used + metadata + unused, and each image is a row's or named."""
    members = [(f"{key}.{suffix}" if suffix else key, data) for key, suffix, data in parts]
    random.Random(seed).shuffle(members)
    rows, ledger = told(shard_of(write_tar(members)))
    assert ledger.members == len(members)
    assert adds_up(ledger)
    assert ledger.records == len(rows)
    taken = sum(row.image is not None for row in rows)
    several = [row for row in rows if row.error and row.error.kind == "several_images"]
    unused = sum(one.images for one in ledger.unused.values())
    assert ledger.images >= taken + unused + 2 * len(several)


def unused_names(members: list[tuple[str, bytes]]) -> tuple[int, list[str]]:
    """How many members of no use there are, and the first three names, by keeping all records; slow and plain.

    Images are named as they come, then the records that are no rows, in the order of their first members.
    """
    newest: dict[str, dict[str, list[str]]] = {}
    records: list[tuple[str, dict[str, list[str]]]] = []
    times: dict[str, int] = {}
    images = []
    for name, data in members:
        key, suffix = split_name(name)
        if key not in newest or suffix in newest[key]:
            times[key] = times.get(key, 0) + 1
            newest[key] = {}
            records.append((key if times[key] == 1 else f"{key}#{times[key]}", newest[key]))
        newest[key][suffix] = [] if data.startswith(PNG) and suffix != "jpg" else [name]
        if not newest[key][suffix]:
            images.append(name)
    useless = [(name, found) for name, found in records if not found.keys() & {"jpg", "txt", "json"}]
    rest = [(f"{name}.{min(found)}", sum(map(len, found.values()))) for name, found in useless]
    names = [*images, *(name for name, left in rest if left)]
    return len(images) + sum(left for _, left in rest), names[:3]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.sampled_from(["cls", "idx", "cls", "idx", "bin", "jpg", "txt"]),
            st.sampled_from([b"7", PNG + b"x"]),
        ),
        max_size=25,
    )
)
def test_members_of_no_use_are_counted_and_the_first_named(
    write_tar: TarWriter, shard_of: Sharder, parts: list[tuple[str, str, bytes]]
) -> None:
    """Whatever the order, the count and the names are those of a reading that keeps all records."""
    members = [(f"{key}.{suffix}", data if suffix != "txt" else b"text") for key, suffix, data in parts]
    _, ledger = told(shard_of(write_tar(members)))
    unused = ledger.unused.get("no_row", Unused())
    assert (unused.members, unused.examples) == unused_names(members)


@pytest.mark.parametrize("name", ["junk/{}.bin", "{}", "a.bin", "b.bin", ".{}", "__MACOSX/{}.x.y"])
def test_members_of_no_use_take_no_memory(write_tar: TarWriter, shard_of: Sharder, name: str) -> None:
    """Six thousand members that no row uses cost less than a tenth of what a record of each would."""
    useless = [(name.format(number), b"") for number in range(6000)]
    shard = shard_of(write_tar([("a.jpg", b"1"), *useless, ("c.jpg", b"2")], form=tarfile.USTAR_FORMAT))
    tracemalloc.start()
    rows, ledger = told(shard)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 2
    assert sum(one.members for one in ledger.unused.values()) + ledger.metadata == 6000
    assert peak < 6000 * 80


def linked(path: Path, links: list[tuple[str, str, bytes]]) -> Path:
    """A tar of two samples, with links (name, target, type) after them."""
    with tarfile.open(path, "w") as tar:
        for name, data in (("./a.jpg", b"1"), ("./a.txt", b"one"), ("./b.jpg", b"22"), ("./b.txt", b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return path


def test_hard_links_are_read(tmp_path: Path, shard_of: Sharder) -> None:
    """A hard link is the member that it names, be it image or caption, through other links too."""
    shard = shard_of(
        linked(
            tmp_path / "a.tar",
            [
                ("./c.jpg", "./a.jpg", tarfile.LNKTYPE),
                ("./c.txt", "b.txt", tarfile.LNKTYPE),
                ("./d.jpg", "c.jpg", tarfile.LNKTYPE),
            ],
        )
    )
    rows, _ = told(shard)
    assert [(row.member, row.image, row.caption, row.error) for row in rows[2:]] == [
        ("c", b"1", b"two", None),
        ("d", b"1", None, None),
    ]
    for wanted in ([(row.member, row.offset) for row in rows], [(row.member, None) for row in rows]):
        assert dict(fetch(shard, Columns(), wanted)) == {row.member: row.image for row in rows}


@pytest.mark.parametrize("target", ["later.jpg", "none.jpg", "c.jpg", "/etc/passwd", "../a.jpg"])
def test_a_hard_link_to_no_member_has_its_reason(tmp_path: Path, shard_of: Sharder, target: str) -> None:
    """A link to a name that no member before it has, or to itself, is a row without image that says so."""
    path = linked(
        tmp_path / "a.tar",
        [("c.jpg", target, tarfile.LNKTYPE), ("later.jpg", "./a.jpg", tarfile.LNKTYPE)],
    )
    rows, _ = told(shard_of(path))
    assert rows[2].image is None
    assert rows[2].error is not None
    assert rows[2].error.kind == "no_image"
    assert target in rows[2].error.message


def test_long_names_of_links_are_followed(tmp_path: Path, shard_of: Sharder) -> None:
    """Targets of more than 100 characters are read from GNU's and from pax headers."""
    name = "d" * 90 + "/" + "e" * 90
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"1"))
            info = tarfile.TarInfo("b.jpg")
            info.type, info.linkname = tarfile.LNKTYPE, f"{name}.jpg"
            tar.addfile(info)
        rows, _ = told(shard_of(tmp_path / "a.tar"))
        assert [row.image for row in rows] == [b"1", b"1"]


def test_a_record_that_is_cut_is_counted(write_tar: TarWriter, shard_of: Sharder) -> None:
    """The members of the record in which a cut tar ends are in the ledger, not in a row."""
    path = write_tar([("a.jpg", b"1"), ("b.jpg", b"1"), ("b.txt", b"x" * 2000)])
    path.write_bytes(path.read_bytes()[: 5 * 512 + 100])
    ledgers: list[Ledger] = []
    rows = read(shard_of(path), Columns(), ledgers=ledgers)
    assert next(rows).member == "a"
    assert ledgers[0].unused["cut"].examples == ["b.jpg"]
    assert adds_up(ledgers[0])


def test_a_sample_of_ours_is_a_record(write_tar: TarWriter, shard_of: Sharder) -> None:
    """The words of a KEY.json that vlcorpus wrote are the caption, unless the recipe names a column for it."""
    image = Image("JPEG", 1, 1, "0" * 64)
    facts = {"split": "train", "language": "en", "source": "web", "licence": "unknown"}
    sample = alone(caption_example("k", "a red barn", image, **facts))
    shard = shard_of(write_tar([("k.json", sample.to_json().encode()), ("k.jpg", b"1")]))
    assert [row.caption for row in told(shard)[0]] == [b"a red barn"]
    assert [row.caption for row in told(shard, Columns(caption=("alt",)))[0]] == [None]
