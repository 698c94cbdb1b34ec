"""Rows of Parquet files: layouts of pictures, mapped columns, damage, later starts and fetches."""

import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.files import Store
from pipelines.sources import InputShard, fetch, read
from pipelines.sources.columns import Columns, ReadLimits
from schemas.errors import InputError, ShardError
from schemas.row import RawRow, Value, image_name

Writer = Callable[..., InputShard]
Collector = Callable[..., tuple[list[RawRow], InputError | None]]
COLUMNS = Columns()
IMAGES = [b"\xff\xd8one", b"two\x00\xfe", None, b""]
HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def write_parquet(tmp_path: Path) -> Writer:
    """Writes columns to a Parquet file and gives its shard."""

    def write(columns: dict[str, Any], kind: str = "parquet", **options: Any) -> InputShard:
        path = tmp_path / "part-0.parquet"
        pq.write_table(pa.table(columns), path, **options)
        return InputShard("web", "part-0", str(path), kind, "parquet", path.stat().st_size)  # type: ignore[arg-type]

    return write


def layouts() -> dict[str, Any]:
    """The same four pictures in every layout that is read."""
    numbers = [None if image is None else list(image) for image in IMAGES]
    signed = [None if n is None else [x - 256 if x > 127 else x for x in n] for n in numbers]
    structs = [None if image is None else {"bytes": image, "path": "a.jpg"} for image in IMAGES]
    lists = [[] if image is None else [image] for image in IMAGES]
    return {
        "binary": pa.array(IMAGES, pa.binary()),
        "large_binary": pa.array(IMAGES, pa.large_binary()),
        "struct": pa.array(structs, HF),
        "list_uint8": pa.array(numbers, pa.list_(pa.uint8())),
        "list_int8": pa.array(signed, pa.list_(pa.int8())),
        "list_binary": pa.array(lists, pa.list_(pa.binary())),
        "list_struct": pa.array([[] if s is None else [s] for s in structs], pa.list_(HF)),
    }


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        (
            pa.array([{"en": "a"}]),
            r"'caption' holds struct<en: string>, not text; write its text as a column",
        ),
        (pa.array([[{"en": "a"}]]), r"'caption' holds list<.*struct<en: string>>, not text; write its text"),
        (pa.array([0.5]), r"'caption' holds double, not text; name another one"),
    ],
)
@pytest.mark.parametrize("columns", [COLUMNS, Columns(caption=("caption",))])
def test_a_caption_column_of_another_type_is_told(
    write_parquet: Writer, caption: Any, words: str, columns: Columns
) -> None:
    """A struct for a caption stops with its type and the remedy, whether the recipe names the column or not."""
    with pytest.raises(InputError, match=words):
        list(read(write_parquet({"image": pa.array([b"1"]), "caption": caption}), columns))


def test_a_guessed_caption_of_another_type_gives_way_to_text(write_parquet: Writer) -> None:
    """Beside a column of text a struct of another guessed name is no caption."""
    shard = write_parquet({"image": [b"1"], "caption": [{"en": "a"}], "text": ["b"]})
    assert [row.caption for row in read(shard, COLUMNS)] == [b"b"]


@pytest.mark.parametrize("layout", sorted(layouts()))
def test_every_layout_of_pictures_reads_the_same(write_parquet: Writer, layout: str) -> None:
    """Binary, Hugging Face's struct, lists of byte values: the same bytes, and no_image for null."""
    shard = write_parquet({"image": layouts()[layout], "text": ["a", "b", "c", "d"]})
    rows = list(read(shard, COLUMNS))
    assert [row.image for row in rows] == IMAGES
    assert [row.member for row in rows] == ["0", "1", "2", "3"]
    assert [row.error.kind if row.error else None for row in rows] == [None, None, "no_image", None]


def test_a_struct_with_a_path_only_has_no_image(write_parquet: Writer) -> None:
    """Hugging Face's struct without bytes is a row without image; the path is not opened."""
    shard = write_parquet({"image": pa.array([{"bytes": None, "path": "/etc/hostname"}], HF), "text": ["a"]})
    (row,) = read(shard, COLUMNS)
    assert row.image is None
    assert row.error is not None
    assert row.error.kind == "no_image"
    assert "an image's path and not its bytes; store the images' bytes" in row.error.message


def test_several_images_in_one_row_are_said(write_parquet: Writer) -> None:
    """A row of two images is not one row of one: it is said, none is dropped in silence."""
    for name in ("image", "images"):
        two, one = [b"1", b"2"], [b"3"]
        shard = write_parquet({name: pa.array([two, one], pa.list_(pa.binary())), "text": ["a", "b"]})
        several, single = read(shard, Columns())
        assert several.error is not None
        assert several.error.kind == "several_images"
        assert (single.image, single.error) == (b"3", None)


def test_several_images_in_one_row_are_a_row_on_request(write_parquet: Writer) -> None:
    """All of a list's images are read, in order, by rows of several captions too; each is fetched by its name."""
    lists = [[b"1", b"2", b"3"], [b"4"], [b"5", b"6"]]
    shard = write_parquet(
        {"images": pa.array(lists, pa.list_(pa.binary())), "text": [["a", "b"], ["c"], ["d", "e"]]},
        row_group_size=2,
    )
    found = list(read(shard, Columns(), several=True))
    assert [row.member for row in found] == ["0", "0#2", "1", "2", "2#2"]
    images = {
        image_name(row.member, number): data
        for row in found
        for number, data in enumerate([row.image, *(one.data for one in row.further)])
    }
    assert list(images.values()) == [b"1", b"2", b"3", b"1", b"2", b"3", b"4", b"5", b"6", b"5", b"6"]
    assert dict(fetch(shard, Columns(), [(name, None) for name in images])) == images
    with pytest.raises(ShardError, match="changed since"):
        list(fetch(shard, Columns(), [(image_name("1", 1), None)]))


def test_a_gap_among_several_images_has_its_number(write_parquet: Writer) -> None:
    """An image without bytes is the row's error."""
    images = pa.array([[b"1", None]], pa.list_(pa.binary()))
    (row,) = read(write_parquet({"images": images, "text": ["a"]}), Columns(), several=True)
    assert row.error is not None
    assert (row.error.kind, row.error.message) == ("no_image", "image 2 of 2: the row has no image")


def test_ready_mappings_find_their_columns(write_parquet: Writer) -> None:
    """`laion` reads TEXT, URL and its scores, lists too."""
    shard = write_parquet(
        {
            "jpg": pa.array([b"1"], pa.binary()),
            "TEXT": ["a cat"],
            "URL": ["http://h/1"],
            "similarity": [0.25],
            "punsafe": pa.array([float("nan")]),
            "NSFW": ["UNLIKELY"],
            "pwatermark": pa.array([[0.1]]),
        }
    )
    (row,) = read(shard, Columns.model_validate("laion"))
    extra: dict[str, Value] = {"similarity": 0.25, "punsafe": None, "NSFW": "UNLIKELY", "pwatermark": [0.1]}
    assert row == RawRow("0", b"1", b"a cat", "http://h/1", None, extra, None)


def test_a_guess_passes_over_columns_of_other_types(write_parquet: Writer) -> None:
    """A column `image` of names is not the picture when `image_bytes` holds it; nor is a list a caption."""
    shard = write_parquet(
        {"image": ["a.jpg"], "image_bytes": pa.array([b"1"], pa.binary()), "caption": [["x"]], "text": ["y"]}
    )
    (row,) = read(shard, COLUMNS)
    assert (row.image, row.caption) == (b"1", b"y")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (Columns(), r"has no column 'image' or .* for the image; it has: alt, box, path, picture, took, url"),
        (Columns(image=("pic",)), r"'pic' for the image"),
        (Columns(image=("picture",), caption=("title",)), r"has no column 'title' for the caption"),
        (Columns(image=("picture",), url=("link",)), r"'link' for the url"),
        (Columns(image=("picture",), extra=("score",)), r"'score' for the extra"),
        (Columns(image=("alt",)), r"image column 'alt' holds string, not bytes; .*store the images' bytes"),
        (Columns(image=("picture",), caption=("url",)), r"caption column 'url' holds list<.*>, not text"),
        (Columns(image=("picture",), extra=("box",)), r"extra column 'box' holds struct<.*>, which no rule"),
        (Columns(image=("picture",), extra=("took",)), r"extra column 'took' holds duration\[s\], which no"),
        (Columns(image=("path",)), r"image column 'path' holds struct<.*>, not bytes; .*store the images'"),
        (
            Columns.model_validate({"like": "laion", "image": "picture"}),
            r"'TEXT' or 'caption' for the caption",
        ),
    ],
)
def test_a_missing_column_stops_with_a_sentence(write_parquet: Writer, columns: Columns, words: str) -> None:
    """A mapped column that is missing or of a wrong type names source, file, column and what there is."""
    shard = write_parquet(
        {
            "picture": pa.array([b"1"], pa.binary()),
            "alt": ["a"],
            "url": [[1]],
            "box": [{"x": 1}],
            "took": pa.array([1], pa.duration("s")),
            "path": [{"path": "a.jpg"}],
        }
    )
    with pytest.raises(InputError, match=words) as caught:
        list(read(shard, columns))
    assert str(caught.value).startswith(f"source web: {shard.path}")
    assert not isinstance(caught.value, ShardError)


def test_a_list_of_captions_is_a_row_for_each(write_parquet: Writer) -> None:
    """Captions of one image are rows of their own with the same image; an empty list is a row without caption."""
    texts: list[Any] = [["a", None, "b"], [], None, ["c"], [None]]
    images = [b"0", b"1", b"2", b"3", b"4"]
    for kind in (pa.list_(pa.string()), pa.large_list(pa.string())):
        shard = write_parquet(
            {"image": pa.array(images, pa.binary()), "caption": pa.array(texts, kind)}, row_group_size=2
        )
        rows = list(read(shard, COLUMNS))
        assert [(row.member, row.image, row.caption) for row in rows] == [
            ("0", b"0", b"a"),
            ("0#2", b"0", b"b"),
            ("1", b"1", None),
            ("2", b"2", None),
            ("3", b"3", b"c"),
            ("4", b"4", None),
        ]
        for start in range(7):
            assert list(read(shard, COLUMNS, start=start)) == rows[start:]
        wanted = [(row.member, None) for row in rows]
        assert list(fetch(shard, COLUMNS, wanted)) == [(row.member, row.image) for row in rows]
    assert [row.caption for row in read(shard, Columns(caption=("caption",)))][:2] == [b"a", b"b"]


def test_too_many_captions_are_one_bad_row(write_parquet: Writer) -> None:
    """A list of a million captions is not a million rows of one image."""
    shard = write_parquet({"image": pa.array([b"0"], pa.binary()), "caption": [["a"] * 1001]})
    (row,) = read(shard, COLUMNS)
    assert row.error is not None
    assert (row.error.kind, row.error.message) == ("bad_row", "the record has 1001 captions, more than 1000")


def test_a_column_that_stands_twice_stops(write_parquet: Writer, tmp_path: Path) -> None:
    """Of two columns of one name none is the right one; of columns that nobody reads nothing is said."""
    arrays = [pa.array([b"1"], pa.binary()), pa.array(["a"]), pa.array(["b"])]
    for names in (["image", "text", "text"], ["image", "image", "text"]):
        table = pa.Table.from_arrays(
            arrays if names[1] == "text" else [arrays[0], arrays[0], arrays[1]], names
        )
        pq.write_table(table, tmp_path / "twice.parquet")
        shard = InputShard("web", "twice", str(tmp_path / "twice.parquet"), "parquet", "parquet", 1)
        with pytest.raises(InputError, match=f"the column {names[1]!r} stands twice"):
            list(read(shard, COLUMNS))
    pq.write_table(pa.Table.from_arrays(arrays, ["image", "x", "x"]), tmp_path / "twice.parquet")
    assert [row.caption for row in read(shard, COLUMNS)] == [None]


def test_an_object_is_refused_where_the_recipe_names_it(write_parquet: Writer) -> None:
    """A struct in a column that only a ready mapping names is null; `extra: [similarity]` asks for it."""
    shard = write_parquet(
        {"image": pa.array([b"1"], pa.binary()), "TEXT": ["a"], "similarity": [{"clip": 0.3}]}
    )
    (row,) = read(shard, Columns.model_validate("laion"))
    assert (row.extra, row.error) == ({"similarity": None}, None)
    with pytest.raises(InputError, match=r"extra column 'similarity' holds struct<clip: double>"):
        list(read(shard, Columns(extra=("similarity",))))


def test_every_type_is_carried(write_parquet: Writer) -> None:
    """Decimals are numbers, times are text, lists are lists, whatever Arrow's layout; nothing becomes null."""
    stamp = pa.array([0], pa.timestamp("ns", "UTC"))
    columns = {
        "decimal": (pa.array([Decimal("0.1234")]), 0.1234),
        "whole": (pa.array([Decimal(12345678901234567890)], pa.decimal128(20, 0)), 12345678901234567890),
        "half": (pa.array([1.5], pa.float16()), 1.5),
        "date": (pa.array([0], pa.int32()).cast(pa.date32()), "1970-01-01"),
        "time": (pa.array([61], pa.time64("us")), "00:00:00.000061"),
        "stamp": (stamp, "1970-01-01 00:00:00.000000000Z"),
        "tags": (pa.array([["a", None, "图"]]), ["a", None, "图"]),
        "fixed": (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), [1, 2]),
        "nested": (pa.array([[[0.5], []]], pa.large_list(pa.list_(pa.float64()))), [[0.5], []]),
        "words": (pa.array(["a"]).dictionary_encode(), "a"),
        "bytes": (pa.array([b"a\xff"], pa.binary()), "a\\xff"),
        "view": (pa.array(["a"], pa.string_view()), "a"),
        "flag": (pa.array([True]), True),
        "null": (pa.nulls(1), None),
    }
    shard = write_parquet(
        {"image": pa.array([b"1"], pa.binary()), **{name: array for name, (array, _) in columns.items()}}
    )
    (row,) = read(shard, Columns(extra=tuple(columns)))
    assert row.extra == {name: value for name, (_, value) in columns.items()}


def test_text_needs_no_picture(write_parquet: Writer) -> None:
    """As text the caption column is the row; a missing picture is no error there."""
    shard = write_parquet(
        {
            "content": ["x"],
            "text": pa.array(
                [
                    "a",
                ]
            ).dictionary_encode(),
        },
        kind="text",
    )
    assert list(read(shard, COLUMNS)) == [RawRow("0", None, b"a", text=True)]
    with pytest.raises(InputError, match="holds no images"):
        list(fetch(shard, COLUMNS, [("0", None)]))


def test_captions_that_are_no_utf8_stay_bytes(write_parquet: Writer) -> None:
    """Invalid UTF-8 in a column of strings is kept as stored."""
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")]
    )
    shard = write_parquet({"image": pa.array([b"1"], pa.binary()), "text": broken})
    (row,) = read(shard, COLUMNS)
    assert row.caption == b"\xff\xfe"


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 15), st.integers(0, 45))
def test_a_later_start_gives_the_rest(rows: int, group: int, start: int) -> None:
    """Rows from read(start=k) are those of read() from number k on, whatever the row groups."""
    store = Store()
    out = io.BytesIO()
    table = pa.table(
        {
            "image": pa.array([bytes([i]) for i in range(rows)], pa.binary()),
            "text": [str(i) for i in range(rows)],
        }
    )
    pq.write_table(table, out, row_group_size=group)
    store.write_bytes("memory://parquet/a.parquet", out.getvalue(), "/tmp")
    shard = InputShard("web", "a", "memory://parquet/a.parquet", "parquet", "parquet", len(out.getvalue()))
    everything = list(read(shard, COLUMNS))
    assert [row.member for row in everything] == [str(i) for i in range(rows)]
    assert list(read(shard, COLUMNS, start=start)) == everything[start:]
    wanted = everything[start % rows :: 3]
    found = list(fetch(shard, COLUMNS, [(row.member, None) for row in reversed(wanted)]))
    assert found == [(row.member, row.image) for row in wanted]


def test_damage_after_sound_row_groups(write_parquet: Writer, collect: Collector) -> None:
    """Row groups before a damaged one come out, then one sentence."""
    images = pa.array([bytes([i]) * 5000 for i in range(30)], pa.binary())
    shard = write_parquet(
        {"image": images},
        row_group_size=10,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    path = Path(shard.path)
    data = bytearray(path.read_bytes())
    at = data.index(bytes([25]) * 5000)
    data[at : at + 10] = b"corruption"
    path.write_bytes(data)
    rows, damage = collect(shard)
    assert isinstance(damage, ShardError)
    assert f"source web: {path} is no sound Parquet file" in str(damage)
    assert [row.member for row in rows] == [str(i) for i in range(20)]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    """A file that is no Parquet is a ShardError naming it."""
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(ShardError, match="no sound Parquet file") as caught:
        list(read(InputShard("web", "a", str(path), "parquet", "parquet", len(data)), COLUMNS))
    assert "\n" not in str(caught.value)


def test_limits_hold(write_parquet: Writer) -> None:
    """A large picture is `too_large`; more rows than the limit are refused before any is read."""
    shard = write_parquet({"image": pa.array([bytes(11), b"1"], pa.binary()), "text": ["a", "b" * 11]})
    rows = list(read(shard, COLUMNS, limits=ReadLimits(image_bytes=10, text_bytes=10)))
    assert [row.error.kind if row.error else None for row in rows] == ["too_large", "too_large"]
    assert [row.image for row in rows] == [None, b"1"]
    with pytest.raises(ShardError, match="announces 2 rows"):
        list(read(shard, COLUMNS, limits=ReadLimits(rows=1)))


def test_a_picture_that_is_gone_is_noticed(write_parquet: Writer) -> None:
    """A row beyond the end, or without picture, cannot be fetched: measure again."""
    shard = write_parquet({"image": pa.array([b"1", None], pa.binary())})
    for member in ("1", "2"):
        with pytest.raises(ShardError, match="measure it again"):
            list(fetch(shard, COLUMNS, [(member, None)]))
