"""What phase render wrote beside each page, as phase measure reads it."""

import json

from pipelines.engines.step import Json
from schemas.columns import Columns
from schemas.errors import RowError
from schemas.recipe import Source
from schemas.row import RawRow
from schemas.sample import Sample, sample_key

RENDERED = Columns(
    image=("jpg",),
    caption=("-",),
    url=("-",),
    extra=(
        "samples",
        "language",
        "refusal",
        "refusal_text",
        "error",
        "error_message",
        "error_rate",
        "parameters",
    ),
)
"""The columns of a rendered shard."""


def told(row: RawRow, record: Json) -> None:
    """Add what is told of a page to its record: why it is refused, how well it was read back.

    Raises RowError where the page could not be rendered.
    """
    extra = row.extra
    for name in ("refusal", "refusal_text", "error_rate"):
        record[name] = extra.get(name)
    # `extra` keeps what the page was drawn from; the samples lie in work/drafts
    kept = {"parameters": json.loads(str(extra["parameters"]))} if extra.get("parameters") else None
    record["extra"] = json.dumps(kept, sort_keys=True, ensure_ascii=False) if kept else None
    if extra.get("error"):
        raise RowError(str(extra["error"]), str(extra.get("error_message") or ""))


def rendered_drafts(source: Source, record: Json, row: RawRow) -> list[Json]:
    """The page's samples, with the picture as it was measured; none where it is refused."""
    if record.get("error") or record.get("refusal"):
        return []
    made = []
    ordinals: dict[str, int] = {}
    for told_sample in json.loads(str(row.extra["samples"])):
        task = told_sample["task"]
        ordinal = ordinals.get(task, 0)
        ordinals[task] = ordinal + 1
        whole = {
            **told_sample,
            "key": sample_key(record["key"], task, ordinal),
            "split": "train",
            "language": told_sample.get("language") or row.extra.get("language") or "und",
            "source": source.id,
            "licence": source.licence,
            "images": [{name: record[name] for name in ("format", "width", "height", "sha256")}],
        }
        sample = Sample.from_json(json.dumps(whole))
        made.append({"member": row.member, "task": task, "images": None, "sample": sample.to_json()})
    return made
