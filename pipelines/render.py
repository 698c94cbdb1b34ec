"""Phase render: pages that are made or rendered become raw shards, which are then read like any other.

A page is a JPEG and a JSON with its samples, or with the reason why it has none. Whatever kills the
process while a document is open is blamed on that document.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.engines.step import IDLE, At, Json
from pipelines.files import Store, is_local, local_path
from pipelines.fingerprints import fingerprint, versions
from pipelines.layout import Layout
from pipelines.writers.sink import Sink
from pipelines.writers.webdataset import Archive
from schemas.errors import InputError, RowError
from schemas.recipe import Recipe, Source
from schemas.sample import turns_json

WORKER = "pipelines.render:Render"

PAGES_A_TASK = 200
DOCUMENTS_A_TASK = 16

SUFFIXES = {"pdf": (".pdf",), "html": (".html", ".htm", ".xhtml")}

SCENES_A_TASK = 500

LIBRARIES = {
    "scenes": ("pillow",),
    "ocr": ("numpy", "opencv-python-headless", "pillow"),
    "pdf": ("pillow", "pypdfium2"),
    "html": ("pillow", "playwright"),
}


@dataclass(frozen=True)
class Planned:
    """One raw shard to be rendered."""

    shard: str
    fingerprint: str
    body: Json


def plan_rendered(recipe: Recipe, source: Source) -> list[Planned]:
    """The source's shards: ranges of pages a language, or batches of documents in order of name."""
    common = [source.model_dump(mode="json", include={"id", "format", "render"}), recipe.seed]
    common.append(versions(LIBRARIES[str(source.format)]))
    if source.format == "ocr":
        return list(_page_ranges(recipe, source, common))
    if source.format == "scenes":
        return list(_scene_ranges(recipe, source, common))
    store = Store(source.storage_options or None, source.id)
    documents = _documents(source, store)
    if not documents:
        raise InputError(f"source {source.id}: no {source.format} documents in {', '.join(source.path)}")
    planned = []
    for number, first in enumerate(range(0, len(documents), DOCUMENTS_A_TASK)):
        batch = documents[first : first + DOCUMENTS_A_TASK]
        marks = [(name, store.identity(path)) for name, path in batch]
        body: Json = {"source": source.id, "shard": f"{source.format}-{number:05d}", "documents": batch}
        planned.append(Planned(body["shard"], fingerprint("render", 1, common, marks), body))
    return planned


def _page_ranges(recipe: Recipe, source: Source, common: list[Any]) -> Iterator[Planned]:
    texts = [Store().identity(path) for path in source.render.texts]
    for language in recipe.languages_of(source) or ("en",):
        marks = sorted(face.identity.digest for face in page_maker(recipe, source, language).faces)
        for start in range(0, source.render.count, PAGES_A_TASK):
            stop = min(start + PAGES_A_TASK, source.render.count)
            shard = f"ocr-{language}-{start // PAGES_A_TASK:05d}"
            body: Json = {
                "source": source.id,
                "shard": shard,
                "language": language,
                "start": start,
                "stop": stop,
            }
            yield Planned(shard, fingerprint("render", 1, common, language, start, stop, marks, texts), body)


def _scene_ranges(recipe: Recipe, source: Source, common: list[Any]) -> Iterator[Planned]:
    languages = recipe.languages_of(source) or ("en",)
    for start in range(0, source.render.count, SCENES_A_TASK):
        stop = min(start + SCENES_A_TASK, source.render.count)
        shard = f"scenes-{start // SCENES_A_TASK:05d}"
        body: Json = {"source": source.id, "shard": shard, "language": "scene", "start": start, "stop": stop}
        yield Planned(shard, fingerprint("render", 1, common, languages, start, stop), body)


def page_maker(recipe: Recipe, source: Source, language: str) -> Any:
    """The maker of a source's pages in one language."""
    from synth.page.maker import PageMaker, PageSettings
    from synth.text import decode, passages

    fonts = source.render.fonts
    settings = PageSettings(
        seed=recipe.seed,
        language=language,
        setting=source.render.setting,
        direction=source.render.direction,
        fonts=Path(local_path(fonts)) if fonts else None,
    )
    store = Store(None, source.id)
    texts = (decode(store.read_bytes(path), language) for path in source.render.texts)
    return PageMaker(settings, passages(texts))


def _documents(source: Source, store: Store) -> list[tuple[str, str]]:
    """(name, path) of every document of the source, sorted by name."""
    found: dict[str, str] = {}
    for path in source.path:
        if store.is_folder(path):
            infos = [(info.name, info.path) for info in store.list_files(path)]
        elif any(mark in path for mark in "*?["):
            infos = [(one.rsplit("/", 1)[-1], one) for one in store.glob(path)]
        else:
            info = store.info(path)
            infos = [(info.name, info.path)]
        for name, where in infos:
            if not name.lower().endswith(SUFFIXES[str(source.format)]):
                continue
            if found.setdefault(name, where) != where:
                raise InputError(
                    f"source {source.id}: two documents are called {name}; name one folder above them"
                )
    return sorted(found.items())


class Render:
    """Renders one raw shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._kept: dict[str, Any] = {}

    def run(self, task: Json, at: At) -> Json:
        """Writes the tar; the receipt counts its pages, and says what was used to make them."""
        source = self._recipe.source(task["source"])
        pages = self._pages(source, task, at)
        if "only" in task:
            for _ in pages:
                pass
            return {}
        rows = 0
        path = self._layout.rendered(source.id, task["shard"])
        with self._layout.store.write_atomic(path, self._layout.tmp) as local, local.open("wb") as file:
            archive = Archive(Sink(file))
            for name, image, facts in pages:
                archive.add(f"{name}.json", json.dumps(facts, sort_keys=True, ensure_ascii=False).encode())
                if image is not None:
                    archive.add(f"{name}.jpg", image)
                rows += 1
            archive.end()
        at(IDLE)
        return {"rows": rows, "made_with": sorted(self._made_with()), "blamed": self._blamed(task)}

    def _blamed(self, task: Json) -> dict[str, str]:
        return {row: self._member(task, int(row)) for row in task.get("verdicts", {})}

    def _member(self, task: Json, row: int) -> str:
        if "documents" in task:
            return stem(task["documents"][row][0])
        return f"{task['language']}-{task['start'] + row:08d}"

    def _made_with(self) -> set[str]:
        makers = [maker for name, maker in self._kept.items() if name.startswith("maker")]
        return {
            f"{face.identity.name} {face.identity.version} ({face.identity.digest[:16]})"
            for maker in makers
            for face in maker.faces
        }

    def _pages(self, source: Source, task: Json, at: At) -> Iterator[tuple[str, bytes | None, Json]]:
        count = len(task["documents"]) if "documents" in task else task["stop"] - task["start"]
        rows = [task["only"]] if "only" in task else range(count)
        for row in rows:
            at(row)
            member = self._member(task, row)
            verdict = task.get("verdicts", {}).get(str(row)) if "only" not in task else None
            if verdict:
                yield member, None, {"error": verdict, "error_message": RowError(verdict).message}
            elif source.format == "scenes":
                yield self._scene(source, task["start"] + row, member)
            elif source.format == "ocr":
                yield self._made(source, task, task["start"] + row, member)
            else:
                yield from self._rendered(source, task["documents"][row][1], member)

    def _made(self, source: Source, task: Json, index: int, member: str) -> tuple[str, bytes, Json]:
        name = f"maker {source.id} {task['language']}"
        if name not in self._kept:
            self._kept[name] = page_maker(self._recipe, source, task["language"])
        page = self._kept[name].page(index)
        error_rate = self._read_back(source, member, page)
        facts = self._facts(source, page, task["language"], error_rate)
        facts["parameters"] = json.dumps(page.parameters, sort_keys=True, ensure_ascii=False)
        return member, page.image, facts

    def _scene(self, source: Source, index: int, member: str) -> tuple[str, bytes, Json]:
        from synth.content import encode
        from synth.scenes import draw, render
        from synth.seeds import generator
        from synth.views import views

        rng = generator(self._recipe.seed, f"scene {source.id}", index)
        languages = self._recipe.languages_of(source) or ("en",)
        language = languages[index % len(languages)]
        scene = draw(rng, rng.uniform(0.8, 1.25))
        size = scene.frame(source.render.side)
        image = encode(render(scene, size), "JPEG", 90)
        samples = [
            {"task": view.task, "language": view.language, "turns": turns_json(view.turns)}
            for view in views(scene, size, language, rng)
        ]
        told = json.dumps(samples, ensure_ascii=False, sort_keys=True)
        parameters = json.dumps({"objects": len(scene.objects)})
        return member, image, {"samples": told, "language": language, "parameters": parameters}

    def _rendered(self, source: Source, path: str, member: str) -> Iterator[tuple[str, bytes | None, Json]]:
        from synth.documents import HTML_RULES, PDF_RULES, DocumentRules, PageFailure, judge

        names = PDF_RULES if source.format == "pdf" else HTML_RULES
        rules = DocumentRules(names=names, max_error=source.render.max_error)
        number = 0
        try:
            for page in self._opened(source, path):
                number = page.number
                name = f"{member}-p{page.number:05d}"
                if isinstance(page, PageFailure):
                    yield name, None, {"error": page.kind, "error_message": page.message}
                    continue
                agreement = self._agreement(source, name, page)
                failed = judge(page, rules, agreement)
                facts = self._facts(source, page, "und", agreement.error_rate if agreement else None)
                if failed:
                    facts = {"refusal": failed[0], "refusal_text": ", ".join(failed), "samples": "[]"}
                yield name, page.image, facts
        except RowError as error:
            name = f"{member}-p{number + 1:05d}" if number else member
            yield name, None, {"error": error.kind, "error_message": error.message}

    def _opened(self, source: Source, path: str) -> Iterator[Any]:
        store = Store(source.storage_options or None, source.id)
        if source.format == "pdf":
            from synth.pdf import PdfLimits, pdf_pages

            data = store.read_bytes(path, PdfLimits().max_bytes)
            yield from pdf_pages(data)
            return
        from synth.web import WebLimits, WebRenderer

        if "browser" not in self._kept:
            self._kept["browser"] = WebRenderer()
        data = store.read_bytes(path, WebLimits().max_bytes)
        folder = Path(local_path(path)).parent if is_local(path) else None
        yield from self._kept["browser"].pages(data, folder)

    def _facts(self, source: Source, page: Any, language: str, error_rate: float | None) -> Json:
        """The page's sample and what was found when it was read back."""
        digest = hashlib.sha256(page.image).hexdigest()
        sample = ocr_turns(page.lines)
        facts: Json = {
            "samples": json.dumps([sample], ensure_ascii=False, sort_keys=True),
            "language": language,
            "image_sha256": digest,
        }
        if error_rate is not None:
            facts["error_rate"] = round(error_rate, 5)
            if error_rate > source.render.max_error:
                facts |= {"refusal": "mismatch", "refusal_text": f"character error rate {error_rate:.3f}"}
        return facts

    def _read_back(self, source: Source, member: str, page: Any) -> float | None:
        found = self._agreement(source, member, page)
        return found.error_rate if found is not None else None

    def _agreement(self, source: Source, member: str, page: Any) -> Any:
        """What an OCR reads on the page, for the share of pages that is read back."""
        draw = hashlib.blake2b(f"{self._recipe.seed}:readback:{source.id}:{member}".encode(), digest_size=8)
        if int.from_bytes(draw.digest(), "little") >= source.render.readback * 2**64:
            return None
        from synth.readback import RapidReader, agree

        if "reader" not in self._kept:
            self._kept["reader"] = RapidReader()
        pixels = np.asarray(Image.open(BytesIO(page.image)).convert("RGB"))
        return agree([(line.text, line.quad) for line in page.lines], self._kept["reader"].read(pixels))

    def __del__(self) -> None:
        browser = getattr(self, "_kept", {}).get("browser")
        if browser is not None:
            with suppress(OSError):
                browser.close()


def ocr_turns(lines: Sequence[Any]) -> Json:
    """The task and turns of a page's sample: its lines with their quads, all supervised."""
    segments: list[Json] = [{"image": 0}]
    segments += [
        {
            "phrase": line.text,
            "boxes": [],
            "quads": [[list(corner) for corner in line.quad]],
            "supervised": True,
        }
        for line in lines
    ]
    return {"task": "ocr", "turns": [{"role": "document", "segments": segments}]}


def stem(name: str) -> str:
    """A document's name as that of its pages: no suffix, no dot, no folder."""
    return name.rpartition(".")[0].replace("/", "__").replace(".", "_") or name.replace(".", "_")
