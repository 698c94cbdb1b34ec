"""Phase render: pages that are made or rendered become raw shards, which are then read like any other.

Which raw shards a source has, and what each depends on; pipelines/phases/render_worker.py makes them.

What phase render wrote beside each page, as phase measure reads it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.engines.step import Json
from pipelines.files import Store
from pipelines.phases.ocr import reader_marks
from pipelines.phases.render_inputs import marks, page_maker
from pipelines.receipts import fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources.columns import Columns
from pipelines.sources.documents import assets, documents
from schemas.errors import InputError, RowError
from schemas.row import RawRow
from schemas.sample import Sample, sample_key
from schemas.shard import FORM

WORKER = "pipelines.phases.render_worker:Render"

PAGES_A_TASK = 200
DOCUMENTS_A_TASK = 8
SCENES_A_TASK = 500

LIBRARIES = {
    "scenes": ("pillow",),
    "ocr": ("numpy", "opencv-python-headless", "pillow"),
    "scene_text": ("numpy", "opencv-python-headless", "pillow", "scikit-image"),
    "pdf": ("pillow", "pypdfium2"),
    "html": ("pillow", "playwright"),
}
UNSEEN = {"count", "fonts", "texts", "pictures", "models"}
"""Settings that no page depends on: of paths it is what they hold that counts."""


@dataclass(frozen=True)
class Planned:
    """One raw shard to be rendered."""

    shard: str
    fingerprint: str
    body: Json


def plan_rendered(recipe: Recipe, source: Source) -> list[Planned]:
    """The source's shards: ranges of pages a language, or batches of documents in order of name."""
    render = source.render.model_dump(mode="json", exclude=UNSEEN)
    common = [FORM, source.id, source.format, render, recipe.seed, versions(LIBRARIES[str(source.format)])]
    if source.render.readback:
        common += reader_marks(source.render.reader, source.render.models)
    if source.format in ("ocr", "scene_text"):
        return list(_page_ranges(recipe, source, common))
    if source.format == "scenes":
        return list(_scene_ranges(recipe, source, common))
    return list(_batches(source, [*common, *_system(source)]))


def _batches(source: Source, common: list[Any]) -> Iterator[Planned]:
    store = Store(source.storage_options or None, source.id)
    found = documents(source, store)
    if not found:
        raise InputError(f"source {source.id}: no {source.format} documents in {', '.join(source.path)}")
    beside = assets(store, [path for _, path in found]) if source.format == "html" else {}
    for number, first in enumerate(range(0, len(found), DOCUMENTS_A_TASK)):
        batch = found[first : first + DOCUMENTS_A_TASK]
        marks = [(name, store.identity(path), beside.get(path)) for name, path in batch]
        body: Json = {"source": source.id, "shard": f"{source.format}-{number:05d}", "documents": batch}
        yield Planned(body["shard"], fingerprint("render", 2, common, marks), body)


def _system(source: Source) -> list[Any]:
    """What of this machine shows in a document's picture: its fonts, and its browser."""
    from synth.page import fonts

    try:
        marks = sorted({face.identity.digest for face in fonts.find().faces})
    except InputError:  # a PDF may bring all of its own
        marks = []
    if source.format == "pdf":
        return [marks]
    from synth.chromium import find, version

    return [marks, version(find())]


def _page_ranges(recipe: Recipe, source: Source, common: list[Any]) -> Iterator[Planned]:
    given = marks(source)
    for language in recipe.languages_of(source) or ("en",):
        faces = sorted(face.identity.digest for face in page_maker(recipe, source, language).faces)
        for start in range(0, source.render.count, PAGES_A_TASK):
            stop = min(start + PAGES_A_TASK, source.render.count)
            shard = f"{source.format}-{language}-{start // PAGES_A_TASK:05d}"
            body: Json = {
                "source": source.id,
                "shard": shard,
                "language": language,
                "start": start,
                "stop": stop,
            }
            yield Planned(shard, fingerprint("render", 3, common, language, start, stop, faces, given), body)


def _scene_ranges(recipe: Recipe, source: Source, common: list[Any]) -> Iterator[Planned]:
    languages = recipe.languages_of(source) or ("en",)
    for start in range(0, source.render.count, SCENES_A_TASK):
        stop = min(start + SCENES_A_TASK, source.render.count)
        shard = f"scenes-{start // SCENES_A_TASK:05d}"
        body: Json = {"source": source.id, "shard": shard, "language": "scene", "start": start, "stop": stop}
        yield Planned(shard, fingerprint("render", 2, common, languages, start, stop), body)


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
