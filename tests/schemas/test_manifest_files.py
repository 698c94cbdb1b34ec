"""The list of a large corpus says what manifest.json would, and nothing that it may not."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import VerifyError
from schemas.manifest import load
from schemas.manifest_files import LIST, Listed, Output, dump_list, list_name, load_list
from tests.schemas.test_manifest import manifest

FOLDERS = st.sampled_from(["shards/train/caption/web", "shards/val/caption/web", "shards/train/text/a-b"])
FILES = st.dictionaries(
    st.tuples(FOLDERS, st.text("0123456789abc-_é", min_size=1, max_size=4)),
    st.tuples(st.booleans(), st.integers(0, 2**62), st.integers(0, 2**40)),
    max_size=40,
)
FEW = {"README.md": Output.of(b"card"), "vocabulary.txt": Output.of(b"words")}


def rows(shards: dict[tuple[str, str], tuple[bool, int, int]]) -> list[dict[str, Any]]:
    """The rows of a list of shards, tars or Parquet, in the order in which they are given."""
    found, places = [], dict[str, int]()
    for (folder, name), (is_tar, size, count) in shards.items():
        place = places.setdefault(folder, 0)
        places[folder] += 1
        for suffix in ("parquet", "tar") if is_tar else ("parquet",):
            file = f"{folder}/{name}.{suffix}"
            has_samples = not is_tar or suffix == "tar"
            found.append(
                {
                    "name": file,
                    "size": size,
                    "sha256": hashlib.sha256(file.encode()).hexdigest(),
                    "rows": count,
                    "place": place if has_samples else None,
                }
            )
    return found


def table(shards: dict[tuple[str, str], tuple[bool, int, int]]) -> pa.Table:
    return pa.Table.from_pylist(rows(shards), LIST).sort_by("name")


def read(data: bytes, **changes: Any) -> Listed:
    """The files of a list with these bytes, beside FEW; `changes` are to what manifest.json says of the list."""
    name = list_name(data)
    known = pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows if data.startswith(b"PAR1") else 0
    output = Output.of(data, known).model_copy(update=changes)
    return load_list(data, name, FEW | {name: output})


@given(FILES)
def test_a_list_is_the_mapping_that_it_was_made_of(shards: dict[Any, Any]) -> None:
    """Names come sorted, each is found and no other, and the order of the shards is that in which they came."""
    data = dump_list(table(shards))
    found, name = read(data), list_name(data)
    known = {
        one["name"]: Output(size=one["size"], sha256=one["sha256"], rows=one["rows"]) for one in rows(shards)
    }
    assert dict(found.items()) == known | FEW | {name: found[name]}
    assert list(found) == sorted(found)
    assert len(found) == len(known) + 3
    for one in (*found, "shards/train/caption/web/x.tar", "shards/", "a", "~"):
        assert (one in found) == (one in known or one in FEW or one == name)
        assert found.get(one) == (known | FEW | {name: found[name]}).get(one)
    order: dict[str, list[str]] = {}
    for folder, shard in shards:
        order.setdefault(folder, []).append(shard)
    assert dict(found.order.items()) == {folder: tuple(names) for folder, names in order.items()}
    assert "shards/train/other" not in found.order


@given(FILES)
def test_a_manifest_with_a_list_is_that_without(shards: dict[Any, Any]) -> None:
    """Both name the same files of samples; a list leaves manifest.json as long as it was, and is read back."""
    files = read(dump_list(table({place: (tar, size, 0) for place, (tar, size, _) in shards.items()})))
    name = next(name for name in files.few if name.startswith("manifest-"))
    shown: dict[str, Any] = {"samples": (), "views": (), "licences": {}}
    plain = manifest(**shown, outputs=dict(files.items()), shards=dict(files.order.items()))
    listed = manifest(**shown, outputs=files.few, shards={}, files=name).with_list(files)
    assert list(plain.sample_outputs()) == list(listed.sample_outputs())
    assert not list(listed.problems())
    assert json.loads(listed.model_dump_json()) == {**json.loads(plain.model_dump_json()), "files": name}
    assert listed.model_dump() == {**plain.model_dump(), "files": name}
    record = json.loads(listed.dump())
    assert record["outputs"].keys() == files.few.keys()
    assert (record["shards"], record["files"]) == ({}, name)
    assert "files" not in json.loads(plain.dump())
    assert load(listed.dump()).with_list(files) == listed


OTHERS = [
    "README.md", "work/x", "/etc/passwd", "shards/../../../etc/passwd", "shards/train/caption/web/..", "",
    "shards/a/b/./c.tar", "shards/a.tar", "shards/a/b/c/d/e.tar", "shards/a/b/c/d\ne", "shards//b/c/d",
    "shards/a/b/c\\d/e",
]  # fmt: skip
"""Names that no file of a shard has."""

TWO = {("shards/train/caption/web", "1"): (True, 3, 5), ("shards/train/caption/web", "0"): (False, 3, 5)}


def changed(how: Callable[[list[dict[str, Any]]], object]) -> pa.Table:
    """A list of two shards, its rows changed."""
    found = table(TWO).to_pylist()
    how(found)
    return pa.Table.from_pylist(found, LIST)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        *(
            (lambda found, name=name: found[0].update(name=name), "is not the name of a shard's file")
            for name in OTHERS
        ),
        (lambda found: found.reverse(), "are not sorted"),
        (lambda found: found.append(found[-1]), "stands there twice"),
        (lambda found: found[0].update(size=-1), "is none"),
        (lambda found: found[0].update(rows=-1), "is none"),
        (lambda found: found[0].update(place=-1), "is none"),
        (lambda found: found[0].update(sha256="0" * 63), "is none"),
        (lambda found: found[0].update(sha256="G" * 64), "is none"),
        (lambda found: found[0].update(place=0), "does not name each of them once"),
        (lambda found: found[0].update(place=2), "does not name each of them once"),
        (lambda found: found[0].update(place=None), "does not name each of them once"),
        (lambda found: found[1].update(place=2), "does not name each of them once"),
    ],
)
def test_a_list_that_says_what_none_may_is_refused(
    how: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    """Names outside the shards or twice, numbers, digests, an order that are none: one sentence each."""
    with pytest.raises(VerifyError, match=message) as caught:
        read(dump_list(changed(how)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def as_bytes(given: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(given, sink, **options)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as Parquet"),
        (b"PAR1" + bytes(100) + b"PAR1", "cannot be read as Parquet"),
        (as_bytes(table(TWO).drop_columns(["place"]), use_dictionary=False), "its columns are name"),
        (as_bytes(table(TWO).rename_columns([*"abcde"]), use_dictionary=False), "its columns are a"),
        (as_bytes(table(TWO), use_dictionary=True), "not plainly encoded"),
    ],
)
def test_what_is_no_list_is_one_sentence(data: bytes, message: str) -> None:
    """A file that is no Parquet, or has other columns, or unpacks to what nobody expects."""
    with pytest.raises(VerifyError, match=message) as caught:
        load_list(data, "list", {"list": Output.of(data, len(table(TWO)))})
    assert "\n" not in str(caught.value)
    assert ("cannot be read as Parquet" in message) != ("is no list of files" in str(caught.value))


def test_an_order_beside_a_list_is_refused() -> None:
    """A list has the order of its shards: one in manifest.json as well would be believed by nobody."""
    files = read(dump_list(table(TWO)))
    (name,) = (name for name in files.few if name.startswith("manifest-"))
    more = manifest(outputs=files.few, shards={"shards/train/caption/web": ("1", "0")}, files=name)
    with pytest.raises(VerifyError, match="an order of shards beside a list"):
        more.with_list(files)


@pytest.mark.parametrize("changes", [{"size": 7}, {"sha256": "0" * 64}, {"rows": 4}])
def test_a_list_is_held_against_manifest_json(changes: dict[str, Any]) -> None:
    """Another size, digest or number of rows than manifest.json says is refused."""
    with pytest.raises(VerifyError, match=r"manifest\.json says"):
        read(dump_list(table(TWO)), **changes)


def test_a_list_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many files, or too many bytes once unpacked, are refused before they are unpacked."""
    data = dump_list(table(TWO))
    assert len(read(data).order) == 1
    for name, value in (("MAX_FILES", 2), ("_MAX_UNPACKED", 10)):
        with monkeypatch.context() as patched:
            patched.setattr(f"schemas.manifest_files.{name}", value)
            with pytest.raises(VerifyError, match=r"above the limit|unpacks to more"):
                read(data)


def zigzag(value: int, size: int | None = None) -> bytes:
    """A number as a footer has it, of `size` bytes."""
    found: list[int] = []
    value <<= 1
    while value or not found or len(found) < (size or 0):
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found[:-1], found[-1] & 127])


def humbled(data: bytes) -> bytes:
    """The list with a footer that says of all that it unpacks to one byte."""
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)
    sizes = [group.total_byte_size]
    sizes += [group.column(at).total_uncompressed_size for at in range(group.num_columns)]
    for size in sorted(sizes, reverse=True)[:2]:
        footer = footer.replace(zigzag(size), zigzag(1, len(zigzag(size))))
    return data[: -8 - length] + footer + data[-8:]


def test_a_list_is_held_to_its_limits_whatever_its_footer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A footer that says less than its pages unpack to is not believed: nothing of the list is unpacked."""
    rows = table({("shards/train/caption/web", f"{'a' * 1000}{at}"): (False, 1, 1) for at in range(500)})
    data = humbled(dump_list(rows))
    facts = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)
    assert (facts.total_byte_size, facts.column(0).total_uncompressed_size) == (1, 1)
    assert len(data) < 50_000
    for name in ("_MAX_UNPACKED", "_MAX_PAGE"):
        with monkeypatch.context() as patched:
            patched.setattr(f"schemas.manifest_files.{name}", 1 << 18)
            patched.setattr(pq.ParquetFile, "read", None)
            with pytest.raises(VerifyError, match="unpacks to more"):
                read(data)


def test_a_long_name_is_refused() -> None:
    """No file of a shard has a name of more than some hundred characters."""
    for length, is_read in ((900, True), (1_100, False)):
        data = dump_list(table({("shards/train/caption/web", "a" * length): (False, 1, 1)}))
        if is_read:
            assert len(read(data)) == 4
        else:
            with pytest.raises(VerifyError, match="a name has more than"):
                read(data)


@pytest.mark.parametrize(
    "name", ["missing.parquet", "../list.parquet", "shards/train/caption/web/00000.parquet"]
)
def test_a_manifest_names_a_list_beside_it(name: str) -> None:
    """A list that has no digest in manifest.json, or lies elsewhere, is refused."""
    record = json.loads(manifest().dump()) | {"files": name}
    with pytest.raises(VerifyError, match="its list of files"):
        load(json.dumps(record).encode(), sums=False)
