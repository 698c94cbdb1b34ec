"""Lists as they are published are read by name, by the usual columns or by a map; what does not fit is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.rules import failures
from filters.signals import Measurer
from filters.table import RuleSettings
from pipelines.fetch.formats import LISTS
from pipelines.fetch.lists import LIST, ColumnMap, columns_of
from pipelines.fetch.rules import ListRules
from pipelines.recipe.load import for_lists
from pipelines.recipe.model import Recipe, Source
from schemas.errors import InputError, VlcorpusError
from tests.pipelines.fetch.fetching import Row, fetch, write_list
from tests.pipelines.fetch.hostile import Server

CAPTION = 'a cat, and "a dog"'


def _parquet(path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table({name: [value] for name, value in columns.items()}), path)


def _tsv(path: Path, columns: dict[str, Any]) -> None:
    path.write_text("\t".join(map(str, columns.values())) + "\n")


def _headed(path: Path, columns: dict[str, Any]) -> None:
    path.write_text("\t".join(columns) + "\n" + "\t".join(map(str, columns.values())) + "\n")


def _parallel(path: Path, columns: dict[str, Any]) -> None:
    path.write_text(json.dumps({name: [value] for name, value in columns.items()}))


URL = "URL"
AS_PUBLISHED: dict[str, tuple[str, Callable[[Path, dict[str, Any]], None], dict[str, Any]]] = {
    **dict.fromkeys(
        ("laion-2b-en", "laion-2b-multi", "laion-zh"),
        (
            "p.parquet",
            _parquet,
            {"SAMPLE_ID": 1, "URL": URL, "TEXT": CAPTION, "HEIGHT": 224, "WIDTH": 256, "LICENSE": "?"},
        ),
    ),
    "laion-2b-joined": (
        "p.parquet",
        _parquet,
        {"URL": URL, "TEXT": CAPTION, "WIDTH": 256, "HEIGHT": 224, "hash": -5},
    ),
    "laion-coco": (
        "p.parquet",
        _parquet,
        {
            "URL": URL,
            "TEXT": "raw",
            "top_caption": CAPTION,
            "all_captions": ["x"],
            "WIDTH": 256,
            "HEIGHT": 224,
        },
    ),
    "coyo-700m": (
        "p.parquet",
        _parquet,
        {
            "id": 1,
            "url": URL,
            "text": CAPTION,
            "width": 256,
            "height": 224,
            "image_phash": "00ff00ff00ff00ff",
        },
    ),
    "datacomp": (
        "p.parquet",
        _parquet,
        {"uid": "a" * 32, "url": URL, "text": CAPTION, "original_width": 256, "original_height": 224},
    ),
    "cc12m": ("cc12m.tsv", _tsv, {"url": URL, "caption": CAPTION}),
    "cc3m": ("train.tsv", _tsv, {"caption": CAPTION, "url": URL}),
    "sbu": ("sbu.json", _parallel, {"image_urls": URL, "captions": CAPTION, "user_ids": 7}),
    "wit": (
        "wit.tsv",
        _headed,
        {
            "language": "en",
            "image_url": URL,
            "caption_reference_description": CAPTION,
            "original_width": 256,
            "original_height": 224,
        },
    ),
}


def test_every_list_is_tried() -> None:
    """Each list that can be named has a case below."""
    assert AS_PUBLISHED.keys() == LISTS.keys()


@pytest.mark.parametrize("name", LISTS)
def test_named_lists(name: str, server: Server, tmp_path: Path) -> None:
    """A list in the form in which it was published gives its URL, caption and size."""
    file, write, columns = AS_PUBLISHED[name]
    write(
        tmp_path / file,
        {key: server.url("/img/1") if value == URL else value for key, value in columns.items()},
    )
    (row,) = fetch(tmp_path / "raw", str(tmp_path / file), list=name)
    status = "replaced" if "image_phash" in columns else "ok"
    assert (row["status"], row["caption"].decode(), row["width"], row["height"]) == (
        status,
        CAPTION,
        256,
        224,
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "txt", "parquet"])
def test_lists_without_a_name(suffix: str, server: Server, tmp_path: Path) -> None:
    """Parquet, CSV, TSV, JSON lines and texts with a URL a line are read by the usual names of columns."""
    url, path = server.url("/img/1"), tmp_path / f"list.{suffix}"
    written = {
        "csv": f'url,caption\n{url},"a cat, sitting"\n',
        "tsv": f"url\tcaption\n{url}\ta cat, sitting\n",
        "jsonl": json.dumps({"url": url, "caption": "a cat, sitting"}) + "\nnot json\n",
        "txt": f"{url}\n\n",
    }
    if suffix == "parquet":
        write_list(path, [{"url": url, "caption": "a cat, sitting"}])
    else:
        path.write_text(written[suffix])
    first, *others = fetch(tmp_path / "raw", str(path))
    assert first["status"] == "ok"
    assert first["caption"] == (None if suffix == "txt" else b"a cat, sitting")
    assert [row["status"] for row in others] == {"jsonl": ["bad_row"], "txt": ["no_url"]}.get(suffix, [])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_lists_without_captions(suffix: str, server: Server, tmp_path: Path) -> None:
    """A list may have URLs alone."""
    url, path = server.url("/img/1"), tmp_path / f"list.{suffix}"
    if suffix == "parquet":
        write_list(path, [{"url": url}])
    else:
        path.write_text(json.dumps({"url": url}) if suffix == "jsonl" else f"url\n{url}\n")
    (row,) = fetch(tmp_path / "raw", str(path))
    assert (row["status"], row["caption"]) == ("ok", None)


def test_values_of_any_kind(server: Server, tmp_path: Path) -> None:
    """Null captions and sizes that are text, negative, no numbers or absurd cost no row."""
    sizes = [("256", "224"), ("-1", "5"), ("NaN", "x"), ("1e99", "0"), (None, None)]
    rows: list[Row | str | None] = [
        {
            "url": server.url(f"/img/{at}"),
            "caption": None,
            "width": width,
            "height": height,
            "sha256": "no hash",
        }
        for at, (width, height) in enumerate(sizes)
    ]
    found = fetch(tmp_path / "raw", write_list(tmp_path / "list.parquet", rows))
    assert [row["status"] for row in found] == ["ok"] * len(sizes)
    assert {row["verdict"] for row in found} == {None}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"list": "laion-2b-en"}, "has no column 'URL' for the url; it has: address, words"),
        ({}, "has no column 'url' or 'URL' or 'image_url' for the url"),
        ({"list": "laion"}, "'laion' is no list that is known; did you mean laion-zh"),
    ],
)
def test_columns_that_do_not_fit(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    """A list whose columns do not fit stops the run with one sentence that names those there are."""
    path = write_list(tmp_path / "list.parquet", [{"address": "http://a.test/", "words": "x"}])
    with pytest.raises(VlcorpusError, match=said):
        fetch(tmp_path / "raw", path, **settings)


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_a_column_of_urls_that_is_not_found(name: str, tmp_path: Path) -> None:
    """The sentence says where it is named, in whatever form the list is: a fetch need not have a recipe."""
    row = {"address": "http://a.test/", "words": "x"}
    (tmp_path / "l.csv").write_text("address,words\nhttp://a.test/,x\n")
    (tmp_path / "l.jsonl").write_text(json.dumps(row) + "\n")
    write_list(tmp_path / "l.parquet", [row])
    with pytest.raises(InputError, match=r"in a recipe \(columns, .*or say whose list it is \(--list\)"):
        fetch(tmp_path / "raw", str(tmp_path / name))


def test_a_damaged_list(tmp_path: Path) -> None:
    """A list that is no Parquet though its name says so is named."""
    (tmp_path / "list.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(VlcorpusError, match="is no sound Parquet"):
        fetch(tmp_path / "raw", str(tmp_path / "list.parquet"))


def test_the_real_lists_are_read(test_data: Path, tmp_path: Path) -> None:
    """LAION's and img2dataset's files give as many rows as they have, whatever their URLs are worth by now."""
    folder = test_data / "formats/metadata"
    listed = [str(folder / name) for name in ("laion-url-text-10000.parquet", "img2dataset-test_1000.txt")]
    recipe = for_lists(listed, str(tmp_path), {})
    assert isinstance(recipe, Recipe)
    rows = fetch(
        tmp_path / "raw", listed, opt_out=[_everything(tmp_path, listed)], robots=False, shard_rows=10_000
    )
    assert len(rows) == 10_000 + len(Path(listed[1]).read_text().splitlines())
    assert {row["status"] for row in rows} <= {"opted_out", "bad_url", "no_url", "unsupported_scheme"}


def _everything(folder: Path, listed: list[str]) -> str:
    """An opt-out list of every URL of some lists, so that none is asked."""
    urls = [*pq.read_table(listed[0])["URL"].to_pylist(), *Path(listed[1]).read_text().splitlines()]
    path = folder / "optout.parquet"
    pq.write_table(pa.table({"url": [url for url in urls if url]}), path)
    return str(path)


TEXTS = (
    st.none()
    | st.text(max_size=5)
    | st.sampled_from([" ", "sha256:" + "b" * 64, "a" * 64, "A" * 64, f" {'0' * 32} "])
)
NUMBERS = st.none() | st.integers(-5, 2**40) | st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(
        st.tuples(TEXTS, TEXTS, TEXTS, st.none() | st.integers(-5, 2**40), st.none() | st.floats(), NUMBERS),
        min_size=1,
        max_size=5,
    )
)
def test_columns_give_what_rows_give(rows: list[tuple[Any, ...]]) -> None:
    """A list that is read column by column gives what it gives row by row."""
    names = ("url", "caption", "sha256", "phash", "width", "height", "extra")
    rows = [(*row[:3], row[2], *row[3:]) for row in rows]
    kinds = (pa.string(), pa.string(), pa.string(), pa.string(), pa.int64(), pa.float64(), pa.float64())
    rows = [(*row[:-1], None if row[-1] is None else float(row[-1])) for row in rows]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    piece = pa.table(columns, names=names)
    source = Source.model_validate({"id": "a", "kind": "urls", "path": "x", "columns": {"extra": ["extra"]}})
    mapped = ColumnMap.of_source(source)
    quick = columns_of(mapped, piece)
    assert quick is not None
    assert (
        quick.to_pylist() == pa.Table.from_pylist(list(map(mapped.row, piece.to_pylist())), LIST).to_pylist()
    )


@settings(max_examples=15)
@given(st.lists(st.tuples(*[st.none() | st.integers(1, 2000)] * 2), min_size=1, max_size=20))
def test_sizes_are_judged_alike(sizes: list[tuple[int | None, int | None]]) -> None:
    """Rules over sizes give one verdict, whether captions are measured beside them or not."""
    table = pa.Table.from_pylist(
        [{"url": "u", "caption": b"a", "width": w, "height": h} for w, h in sizes], LIST
    )
    off = {rule.name: False for rule in RuleSettings.table if rule.on and not rule.always}
    rules = off | {"aspect_ratio": {"max": 2}, "min_side": {"pixels": 100}}
    source = {"id": "a", "kind": "urls", "path": "x", "captions": "none"}
    alone, beside = (
        Recipe.model_validate({"sources": [source], "rules": {**rules, **more}})
        for more in ({}, {"caption_length": {"min_chars": 0, "max_chars": 1000}})
    )
    found = ListRules(alone, alone.sources[0]).reasons(table)
    # captions of one character are not what this is about
    assert found == [
        None if reason == "caption_length" else reason
        for reason in ListRules(beside, beside.sources[0]).reasons(table)
    ]


CAPTION_BYTES = st.binary(max_size=6) | st.sampled_from(
    [
        b"a red bus in the rain",
        "une rue sous la pluie à Paris".encode(),
        "红色的公共汽车".encode(),
        b"IMG_1234.jpg",
    ]
)


CAPTION_RULES = ("special_tag", "damaged_text", "pattern", "caption_length", "script", "emoji", "language")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.none() | CAPTION_BYTES, min_size=1, max_size=8), st.sets(st.sampled_from(CAPTION_RULES)))
def test_captions_are_judged_as_in_the_build(captions: list[bytes | None], off: set[str]) -> None:
    """A list's captions, whatever their bytes, fall by the rule by which the build drops the rows one by one."""
    source = {"id": "a", "kind": "urls", "path": "x", "rules": dict.fromkeys(off, False)}
    recipe = Recipe.model_validate({"languages": ["en"], "sources": [source]})
    table = pa.Table.from_pylist([{"url": "u", "caption": caption} for caption in captions], LIST)
    records = [{"caption_raw": None if one is None else one.decode("utf-8", "replace")} for one in captions]
    failed = failures(
        Measurer(recipe.signals).table(records), recipe.rules_of(recipe.sources[0]), ["en"]
    ).to_pylist()
    assert ListRules(recipe, recipe.sources[0]).reasons(table) == [
        names[0] if names else None for names in failed
    ]


def test_no_filter_runs_that_no_rule_asks_for() -> None:
    """A language model that is not there is missed by the rule `language`, and by no other."""
    given = {
        "sources": [{"id": "a", "kind": "urls", "path": "x"}],
        "signals": {"language": {"model": "/none"}},
    }
    recipe = Recipe.model_validate(given)
    with pytest.raises(InputError, match="/none"):
        ListRules(recipe, recipe.sources[0])
    recipe = Recipe.model_validate({**given, "rules": {"language": False}})
    table = pa.Table.from_pylist(
        [{"url": "u", "caption": caption} for caption in (b"IMG_1.jpg", b"a dog")], LIST
    )
    assert ListRules(recipe, recipe.sources[0]).reasons(table) == ["pattern", None]


@pytest.mark.parametrize(
    ("name", "data", "listed", "why"),
    [
        ("l.tsv", b"https://a.test/1\ta\tb\nx\n", "cc12m", "3 fields, not 2"),
        ("l.jsonl", b'{"url": 1}\n{"url": [2]}\n', None, "type int"),
        ("l.jsonl", b'{"url": null}\n{"url": ""}\n', None, "has a URL;"),
        ("l.txt", b"\n\n", None, "has a URL;"),
    ],
)
def test_lists_of_which_no_row_has_a_url(
    tmp_path: Path, name: str, data: bytes, listed: str | None, why: str
) -> None:
    """They are not what they are taken for: a sentence that says so with the first row's reason, each time."""
    (tmp_path / name).write_bytes(data)
    given = {"list": listed} if listed else {}
    for _ in range(2):
        with pytest.raises(InputError, match=f"none of the 2 rows.*{why}"):
            fetch(tmp_path / "raw", str(tmp_path / name), **given)
