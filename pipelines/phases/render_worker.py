"""The worker of phase render: one raw shard a task, a page a row.

A page is a JPEG and a JSON with its samples, or with the reason why it has none. Whatever kills the
process while a document is open is blamed on that document.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.engines.step import IDLE, At, Json
from pipelines.files import Store, is_local, local_path
from pipelines.layout import Layout
from pipelines.phases.ocr import ReadBack
from pipelines.phases.render_inputs import page_maker
from pipelines.recipe.model import Recipe, RenderSettings, Source
from pipelines.writers.sink import Sink
from pipelines.writers.webdataset import Archive
from schemas.errors import RowError
from schemas.sample import turns_json

Shown = tuple[str, bytes | None, Json]
"""The name of a page, its picture, and what is told of it."""


class Render:
    """Renders one raw shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._readback = ReadBack(self._recipe.seed)
        self._makers: dict[tuple[str, str], Any] = {}
        self._browser: Any = None

    def run(self, task: Json, at: At) -> Json:
        """Writes the tar; the receipt counts its pages, and says what was used to make them."""
        source = self._recipe.source(task["source"])
        pages = self._pages(source, task, at)
        if "only" in task:
            for _ in pages:
                pass
            return {}
        rows = 0
        path = self._layout.path("rendered", source.id, task["shard"])
        with self._layout.store.write_atomic(path, self._layout.tmp) as local, local.open("wb") as file:
            archive = Archive(Sink(file))
            for name, image, facts in pages:
                archive.add(f"{name}.json", json.dumps(facts, sort_keys=True, ensure_ascii=False).encode())
                if image is not None:
                    archive.add(f"{name}.jpg", image)
                rows += 1
            archive.end()
        at(IDLE)
        blamed = {row: _member(task, int(row)) for row in task.get("verdicts", {})}
        return {"rows": rows, "made_with": self._made_with(source, task), "blamed": blamed}

    def _made_with(self, source: Source, task: Json) -> list[str]:
        """The fonts that the task's pages may be set in."""
        if source.format not in ("ocr", "scene_text"):
            return []
        identities = {face.identity for face in self._maker(source, task["language"]).faces}
        return sorted({f"{one.name} {one.version} ({one.digest[:16]})" for one in identities})

    def _maker(self, source: Source, language: str) -> Any:
        name = (source.id, language)
        if name not in self._makers:
            self._makers[name] = page_maker(self._recipe, source, language)
        return self._makers[name]

    def _pages(self, source: Source, task: Json, at: At) -> Iterator[Shown]:
        count = len(task["documents"]) if "documents" in task else task["stop"] - task["start"]
        for row in [task["only"]] if "only" in task else range(count):
            at(row)
            member = _member(task, row)
            verdict = task.get("verdicts", {}).get(str(row)) if "only" not in task else None
            if verdict:
                yield _failed(member, verdict, RowError(verdict).message)
            elif source.format == "scenes":
                yield self._scene(source, task["start"] + row, member)
            elif source.format in ("ocr", "scene_text"):
                yield self._made(source, task, task["start"] + row, member)
            else:
                for page in self._rendered(source, task["documents"][row][1], member):
                    yield page
                    # a document of many pages has the deadline of one row for each
                    at(row)

    def _made(self, source: Source, task: Json, index: int, member: str) -> Shown:
        from synth.documents import mismatch

        page = self._maker(source, task["language"]).page(index)
        agreement = self._agreement(source, member, page)
        wrong = mismatch(agreement, source.render.max_error)
        facts = _facts(source, page, task["language"], agreement, {"mismatch": wrong} if wrong else {})
        facts["parameters"] = json.dumps(page.parameters, sort_keys=True, ensure_ascii=False)
        return member, page.image, facts

    def _scene(self, source: Source, index: int, member: str) -> Shown:
        from synth.content import encode
        from synth.scenes import draw, render
        from synth.seeds import generator
        from synth.views import views

        rng = generator(self._recipe.seed, f"scene {source.id}", index)
        languages = self._recipe.languages_of(source) or ("en",)
        language = languages[index % len(languages)]
        scene = draw(rng, rng.uniform(0.8, 1.25), kit=_kit(source.render))
        size = scene.frame(source.render.side)
        image = encode(render(scene, size), "JPEG", 90)
        parameters = json.dumps({"objects": len(scene.objects)})
        told = _told(views(scene, size, language, rng, source.render.regions))
        return member, image, {"samples": told, "language": language, "parameters": parameters}

    def _rendered(self, source: Source, path: str, member: str) -> Iterator[Shown]:
        from synth.documents import HTML_RULES, PDF_RULES, DocumentRules, PageFailure, judge

        names = PDF_RULES if source.format == "pdf" else HTML_RULES
        rules = DocumentRules(names=names, max_error=source.render.max_error)
        number = -1
        try:
            for page in self._opened(source, path):
                number = page.number
                name = f"{member}-p{number:05d}"
                if isinstance(page, PageFailure):
                    yield _failed(name, page.kind, page.message)
                    continue
                failed, agreement = judge(page, rules), None
                if not failed:  # what is dropped all the same need not be read
                    agreement = self._agreement(source, name, page)
                    failed = judge(page, rules, agreement)
                yield name, page.image, _facts(source, page, "und", agreement, failed)
        except RowError as error:
            name = f"{member}-p{number + 1:05d}" if number >= 0 else member
            yield _failed(name, error.kind, error.message)

    def _opened(self, source: Source, path: str) -> Iterator[Any]:
        store = Store(source.storage_options or None, source.id)
        if source.format == "pdf":
            from synth.pdf import PdfLimits, pdf_pages

            yield from pdf_pages(_read(store, path, PdfLimits().max_bytes))
            return
        from synth.web import WebLimits, WebRenderer

        if self._browser is None:
            self._browser = WebRenderer()
        folder = Path(local_path(path)).parent if is_local(path) else None
        yield from self._browser.pages(_read(store, path, WebLimits().max_bytes), folder)

    def _agreement(self, source: Source, member: str, page: Any) -> Any:
        """What an OCR reads on the page, for the share of pages that is read back."""
        if not self._readback.is_drawn(source.id, member, source.render.readback):
            return None
        return self._readback.agreement(page, source.render.reader, source.render.models)

    def close(self) -> None:
        """Ends the browser, where there is one; a document after that starts another."""
        browser, self._browser = self._browser, None
        if browser is not None:
            with suppress(OSError):
                browser.close()

    def __del__(self) -> None:
        if hasattr(self, "_browser"):
            self.close()


def _facts(source: Source, page: Any, language: str, agreement: Any, failed: dict[str, str]) -> Json:
    """What is told of a page: its samples, or why it has none, and how well it was read back."""
    from synth.regions import text_views

    facts: Json = {"language": language, "samples": "[]"}
    if agreement is not None:
        facts["error_rate"] = round(agreement.error_rate, 5)
    if failed:
        reasons = "; ".join(f"{name}: {figure}" for name, figure in failed.items())
        return facts | {"refusal": next(iter(failed)), "refusal_text": reasons}
    render = source.render
    facts["samples"] = _told(text_views(page.lines, language, render.level, whole=render.whole_text))
    return facts


def _told(views: Sequence[Any]) -> str:
    samples = [
        {"task": view.task, "language": view.language, "turns": turns_json(view.turns)} for view in views
    ]
    return json.dumps(samples, ensure_ascii=False, sort_keys=True)


def _failed(name: str, kind: str, message: str) -> Shown:
    return name, None, {"error": kind, "error_message": message}


def _read(store: Store, path: str, limit: int) -> bytes:
    """The document; RowError where it is larger than the limit."""
    size = store.info(path).size
    if size > limit:
        raise RowError("too_large", f"{size} bytes, more than {limit}")
    return store.read_bytes(path, limit)


def _member(task: Json, row: int) -> str:
    if "documents" in task:
        return str(task["documents"][row][0])
    return f"{task['language']}-{task['start'] + row:08d}"


def _kit(settings: RenderSettings) -> Any:
    """What a source's scenes are drawn from: all there is, less what the recipe leaves out."""
    from synth.scenes import ALL, Kit

    return Kit(
        settings.shapes or ALL.shapes,
        settings.colours or ALL.colours,
        settings.sizes or ALL.sizes,
        settings.objects or ALL.counts,
    )
