"""Phase render: pages that are made or rendered become raw shards, which are then read like any other.

Which raw shards a source has, and what each depends on; pipelines/phases/render_worker.py makes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.engines.step import Json
from pipelines.files import Store
from pipelines.layout import text_of
from pipelines.phases.ocr import reader_marks
from pipelines.phases.render_inputs import marks, page_maker
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard
from pipelines.sources.documents import assets, documents
from pipelines.sources.table import KINDS
from schemas.errors import InputError

if TYPE_CHECKING:
    from pipelines.build import Build

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
    common = [source.id, source.format, render, recipe.seed, versions(LIBRARIES[str(source.format)])]
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


def run(build: "Build") -> None:
    """Renders the raw shards of all rendered sources, where they are not there yet, and takes them in as inputs."""
    sources = [source for source in build.recipe.sources if KINDS[source.kind].made]
    planned = [(source.id, one) for source in sources for one in plan_rendered(build.recipe, source)]
    if not planned:
        return
    build.map("render", [Task(text_of((id_, one.shard)), one.fingerprint, one.body) for id_, one in planned])
    for source, one in planned:
        path = build.layout.path("rendered", source, one.shard)
        size = build.layout.store.info(path).size
        build.add([InputShard(source, one.shard, path, "rendered", "tar", size)])
