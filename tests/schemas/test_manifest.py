import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.errors import VerifyError
from schemas.manifest import (
    Funnel,
    Manifest,
    RuleCount,
    SampleCount,
    Source,
    ViewCount,
    load,
    relative,
)
from schemas.manifest_files import Output


def manifest(**changes: object) -> Manifest:
    """A small sound manifest with `changes`."""
    fields: dict[str, object] = {
        "recipe": "0" * 64,
        "seed": 7,
        "versions": {"pyarrow": "25.0.1"},
        "sources": (Source(id="web", origin="a crawl, 网页", rows=10),),
        "thresholds": {"web": {"aspect_ratio": {"max": 3.0}}},
        "funnel": {"web": funnel()},
        "samples": (SampleCount(split="train", group="caption", source="web", samples=5, images=5),),
        "views": (views(),),
        "licences": {"web": {"CC0-1.0": 4, "other": 2}},
        "outputs": {
            "README.md": Output(size=3, sha256="1" * 64),
            "shards/train/caption/web/00000.tar": Output(size=3, sha256="2" * 64, rows=5),
            "shards/train/caption/web/00000.parquet": Output(size=3, sha256="3" * 64, rows=5),
        },
        "shards": {"shards/train/caption/web": ("00000",)},
    }
    return Manifest.model_validate(fields | changes)


def views(**changes: object) -> ViewCount:
    found = ViewCount(
        split="train", group="caption", task="caption", source="web", views=6, languages={"en": 4, "zh": 2}
    )
    return found.model_copy(update=changes)


def funnel(**changes: object) -> Funnel:
    rules = (
        RuleCount(rule="script", dropped=1, failed=1),
        RuleCount(rule="aspect_ratio", dropped=3, failed=4),
    )
    sound = Funnel(rows=10, kept=5, dropped=4, quarantined=1, rules=rules, errors={"truncated": 1})
    return sound.model_copy(update=changes)


def test_dump_is_canonical() -> None:
    """The JSON is sorted, UTF-8, ends with a line feed, and reading it gives an equal manifest."""
    data = manifest().dump()
    record = json.loads(data)
    assert data == (json.dumps(record, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()
    assert "网页".encode() in data
    assert load(data) == manifest()
    assert load(data).dump() == data


def test_order_of_outputs_does_not_matter() -> None:
    """Two manifests that name the same files in another order are the same bytes."""
    outputs = dict(reversed([*manifest().outputs.items()]))
    assert manifest(outputs=outputs).dump() == manifest().dump()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"funnel": {"web": funnel(kept=6)}}, "kept . dropped . quarantined is 11, but there are 10 rows"),
        ({"funnel": {"web": funnel(rules=())}}, "the rules dropped 0 rows, but 4 are dropped"),
        ({"funnel": {"web": funnel(errors={})}}, "the errors are 0, but 1 rows are quarantined"),
        (
            {"funnel": {"web": funnel(rules=(RuleCount(rule="script", dropped=4, failed=3),))}},
            "rule script dropped 4 rows, but 3 failed it",
        ),
        (
            {"funnel": {"web": funnel(rules=(RuleCount(rule="script", dropped=2, failed=2),) * 2)}},
            "rule script is counted 2 times",
        ),
        ({"sources": (Source(id="web", rows=9),)}, "9 rows went in, the funnel counts 10"),
        ({"sources": ()}, "the sources are"),
        (
            {"views": (views(languages={}),)},
            "shards/train/caption/web: 6 views of task caption, but 0 by language",
        ),
        ({"licences": {"web": {"CC0-1.0": 5}}}, "source web: 6 views, but 5 by licence"),
        ({"licences": {}}, "source web: 6 views, but 0 by licence"),
        ({"samples": ()}, "0 samples are counted, its shards hold 5"),
        (
            {"outputs": {"README.md": Output(size=1, sha256="0" * 64)}, "shards": {}},
            "5 samples are counted, its shards hold 0",
        ),
        ({"shards": {}}, "shards/train/caption/web: the order of its shards does not name each of them once"),
        ({"shards": {"shards/train/caption/web": ("00000", "00001")}}, "does not name each of them once"),
    ],
)
def test_sums_must_come_out(changes: dict[str, object], message: str) -> None:
    """A count that contradicts another is refused, and reported where sums are not insisted on."""
    with pytest.raises(ValidationError, match=message):
        manifest(**changes)
    lax = Manifest.model_validate(manifest().model_dump() | changes, context={"sums": False})
    assert any(re.search(message, problem) for problem in lax.problems())
    with pytest.raises(VerifyError, match=message):
        load(lax.dump())
    assert load(lax.dump(), sums=False) == lax


@pytest.mark.parametrize(
    "name",
    [
        "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "", ".", "./a", "..\\x", "C:/x", "s3://b/x",
        "file:x", "a\nb", "a\0", "work/x", "work", "run.json", "manifest.json",
    ],
)  # fmt: skip
def test_names_that_leave_the_corpus_are_refused(name: str) -> None:
    """A manifest cannot name a file outside its folder, or of the run."""
    record = json.loads(manifest().dump())
    record["outputs"][name] = {"size": 1, "sha256": "0" * 64, "rows": None}
    with pytest.raises(VerifyError, match=r"manifest\.json is not a manifest: outputs"):
        load(json.dumps(record).encode(), sums=False)


@given(st.lists(st.text("abc-_0", min_size=1), min_size=4, max_size=4))
def test_names_inside_the_corpus_are_taken(parts: list[str]) -> None:
    """An ordinary relative name comes back as it is."""
    assert relative("/".join(["shards", *parts])) == "/".join(["shards", *parts])


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 10_000, b'{"schema_version": 3}', b"null"],
)
def test_what_is_no_manifest_is_one_sentence(data: bytes) -> None:
    """Broken JSON, another version or anything else is a VerifyError on one line."""
    with pytest.raises(VerifyError, match=r"manifest\.json is not a manifest") as caught:
        load(data)
    assert "\n" not in str(caught.value)


def test_another_version_is_named() -> None:
    """A manifest that an earlier or later vlcorpus wrote is named as that, whatever else it holds."""
    record = json.loads(manifest().dump())
    del record["shards"]
    for version in (1, 2, 4):
        with pytest.raises(
            VerifyError, match="of another version of vlcorpus: build the corpus again"
        ) as caught:
            load(json.dumps(record | {"schema_version": version, "colour": 1}).encode())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("colour", 1), ("seed", None), ("recipe", "0" * 63), ("recipe", "G" * 64)]
)
def test_fields_are_strict(name: str, value: object) -> None:
    """An unknown field or a value of the wrong kind is refused by name."""
    record = json.loads(manifest().dump()) | {name: value}
    with pytest.raises(VerifyError, match=name):
        load(json.dumps(record).encode())
