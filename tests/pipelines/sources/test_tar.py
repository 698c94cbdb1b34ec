"""The headers of tars are read as tarfile reads them, and never further than the archive is sound."""

import io
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.sources.columns import ReadLimits
from pipelines.sources.tar import Damage, members, size_at

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=200).filter(
    lambda name: name.strip(".") == name.strip() == name
)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def tar_of(files: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def names_read(data: bytes, limits: ReadLimits | None = None) -> tuple[list[str], str | None]:
    found: list[str] = []
    try:
        for member in members(io.BytesIO(data), limits or ReadLimits()):
            found.append(member.name)
    except Damage as damage:
        return found, str(damage)
    return found, None


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6), FORMATS)
def test_members_are_those_of_tarfile(files: list[tuple[str, bytes]], form: int) -> None:
    """Names, offsets and sizes equal tarfile's, in every format that it writes."""
    try:
        data = tar_of(files, form)
    except ValueError:  # ustar cannot hold every name
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(info.name, info.offset_data, info.size) for info in tar]
    found = list(members(io.BytesIO(data), ReadLimits()))
    assert [(member.name, member.offset, member.size) for member in found] == expected
    assert all(member.usable for member in found)
    assert all(size_at(io.BytesIO(data), member.offset) == member.size for member in found)


@settings(deadline=None)
@given(st.integers(0, 20 * 512))
def test_a_cut_tar_gives_what_stands_before_the_cut(cut: int) -> None:
    """Cut anywhere, the tar gives a prefix of its members, and says so unless it still ends with a mark."""
    files = [(f"{i}.jpg", bytes([65 + i]) * (300 * i)) for i in range(6)]
    data = tar_of(files)
    found, damage = names_read(data[:cut])
    assert found == [name for name, _ in files][: len(found)]
    assert len(found) == len(files) or damage


@settings(deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 3000))
@example(bytes(1024), 0)
def test_no_bytes_make_it_fail_otherwise(junk: bytes, at: int) -> None:
    """Junk laid over a sound tar, or alone, is read as members or as Damage; nothing else, and it ends."""
    data = bytearray(tar_of([("a.jpg", b"x" * 700), ("long" * 40 + ".txt", b"y")]))
    data[at : at + len(junk)] = junk
    names_read(bytes(data))
    names_read(junk)


def test_a_damaged_header_is_not_the_end() -> None:
    """A header with a wrong checksum in the middle is Damage with its place, not a quiet end."""
    data = bytearray(tar_of([("a.jpg", b"1"), ("b.jpg", b"2"), ("c.jpg", b"3")]))
    data[1024 + 3] ^= 1
    assert names_read(bytes(data)) == (["a.jpg"], "has a damaged header (wrong checksum) at byte 1024")


def test_concatenated_tars_are_read_through() -> None:
    """What follows an end mark is read when it is a tar, and left alone when it is not."""
    two = tar_of([("a.jpg", b"1")]) + tar_of([("b.jpg", b"2")])
    assert names_read(two) == (["a.jpg", "b.jpg"], None)
    assert names_read(two + b"junk" * 300) == (["a.jpg", "b.jpg"], None)


def test_a_tar_without_end_mark_may_be_cut() -> None:
    """Members that end the file without the mark are read, then the lack is Damage."""
    found, damage = names_read(tar_of([("a.jpg", b"1")])[:1024])
    assert found == ["a.jpg"]
    assert damage == "has no end mark, so it may have been cut"
    assert names_read(b"") == ([], "is empty")


def test_links_devices_and_sparse_files_are_not_usable() -> None:
    """Only plain files can be used; the others are named, folders are not."""
    out = io.BytesIO()
    kinds = [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.REGTYPE,
    ]
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, kind in enumerate(kinds):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    found = list(members(io.BytesIO(out.getvalue()), ReadLimits()))
    assert [(member.name, member.usable) for member in found] == [
        *((f"{number}.jpg", False) for number in range(4)),
        ("5.jpg", True),
    ]


def test_pax_sparse_files_are_not_usable() -> None:
    """GNU's sparse files in pax clothing are no plain files: their data starts with a map."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpg")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        tar.addfile(info)
    assert [member.usable for member in members(io.BytesIO(out.getvalue()), ReadLimits())] == [False]


@pytest.mark.parametrize(
    ("limits", "words"),
    [(ReadLimits(members=2), "more than 2 members"), (ReadLimits(header_bytes=100), "extended header")],
)
def test_limits_hold(limits: ReadLimits, words: str) -> None:
    """Too many members, or a name longer than any, stop the reading with a reason."""
    data = tar_of([("a.jpg", b""), ("b.jpg", b""), ("c" * 3000 + ".jpg", b"")], tarfile.GNU_FORMAT)
    found, damage = names_read(data, limits)
    assert found == ["a.jpg", "b.jpg"]
    assert damage is not None
    assert words in damage


def test_a_seek_to_no_member_finds_nothing() -> None:
    """An offset that no header precedes gives None."""
    data = io.BytesIO(tar_of([("a.jpg", b"x" * 600)]))
    assert size_at(data, 512) == 600
    assert size_at(data, 1024) is None
    assert size_at(data, 7) is None
