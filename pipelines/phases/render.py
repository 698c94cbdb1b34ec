"""Phase render: pages that generators make become raw shards, which are then read like any other.

A page is an image and a JSON with its samples, or with the reason why it has none. Whatever kills the process
while a document is open is blamed on that document.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from filters.text_area import reader_versions
from pipelines.engines.step import IDLE, At, Json
from pipelines.files import Store
from pipelines.generators import Generator, Item, Job, Maker, Page, TextPageSettings
from pipelines.generators.documents import documents
from pipelines.generators.table import lookup
from pipelines.layout import Layout, text_of
from pipelines.phases.ocr import ReadBack
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard
from pipelines.sources.table import KINDS
from pipelines.writers.sink import Sink
from pipelines.writers.webdataset import Archive
from schemas.doing import doing
from schemas.errors import InputError, RowError
from schemas.sample import TASKS, turns_json
from schemas.shard import FORM

if TYPE_CHECKING:
    from pipelines.build import Build


@dataclass(frozen=True)
class Planned:
    """One raw shard to be rendered."""

    shard: str
    fingerprint: str
    body: Json


def plan_rendered(recipe: Recipe, source: Source) -> list[Planned]:
    """Returns the source's shards: ranges of pages, or batches of documents in order of name."""
    made_by, job = generator_of(source), job_of(recipe, source)
    settings = job.settings.model_dump(mode="json", exclude={"count", *job.settings.places})
    facts = facts_of(recipe, source)
    made_with = versions(made_by.libraries), facts
    common = [FORM, source.id, made_by.name, made_by.version, settings, recipe.seed, *made_with]
    planned = []
    for shard, depends, body in _batches(source, made_by, job) if made_by.suffixes else _ranges(made_by, job):
        body |= {"source": source.id, "shard": shard, "facts": facts}
        planned.append(Planned(shard, fingerprint("render", 5, common, depends), body))
    return planned


Part = tuple[str, Any, Json]
"""A raw shard, what it depends on apart from the source, and what its task is told."""


def _batches(source: Source, made_by: Generator, job: Job) -> Iterator[Part]:
    found = documents(job, source.path, made_by.suffixes)
    if not found:
        raise InputError(f"source {source.id}: no {made_by.name} documents in {', '.join(source.path)}")
    marks = made_by.marks(job, found)
    for number, first in enumerate(range(0, len(found), made_by.per_task)):
        batch = slice(first, first + made_by.per_task)
        names = [one.name for one in found[batch]]
        body = {"documents": [(one.name, one.path) for one in found[batch]], "fonts": []}
        yield f"{made_by.name}-{number:05d}", [names, marks[batch]], body


def _ranges(made_by: Generator, job: Job) -> Iterator[Part]:
    maker = made_by.open(job)
    for language in (made_by.unit,) if made_by.unit else job.languages or ("en",):
        marks = made_by.marks(job, [Item(language, language=language)])
        kind = made_by.name if made_by.unit else f"{made_by.name}-{language}"
        fonts = maker.fonts(language)
        for start in range(0, job.settings.count, made_by.per_task):
            stop = min(start + made_by.per_task, job.settings.count)
            body = {"language": language, "start": start, "stop": stop, "fonts": fonts}
            yield f"{kind}-{start // made_by.per_task:05d}", [marks, *body.values()], body
    maker.close()


def generator_of(source: Source) -> Generator:
    """Returns the generator of a source of kind rendered."""
    return lookup(str(source.format))[0]


def job_of(recipe: Recipe, source: Source) -> Job:
    """Returns what the source's generator knows of it."""
    store = Store(source.storage_options or None, source.id)
    return Job(source.id, recipe.seed, recipe.languages_of(source), source.render, store)


def facts_of(recipe: Recipe, source: Source) -> dict[str, str]:
    """Returns what of this machine shows in a source's pages, without paths: the manifest names it."""
    made_by, settings = generator_of(source), source.render
    facts = made_by.facts(job_of(recipe, source))
    if isinstance(settings, TextPageSettings) and settings.readback:
        read_by = reader_versions(settings.reader, settings.models)
        facts["read back by"] = f"{settings.reader} ({fingerprint(read_by)[:16]})"
    _, brought = lookup(str(source.format))
    if brought is not None:
        facts["generator"] = f"{brought.package} {brought.version} ({brought.digest[:16]})"
    return facts


class Render:
    """Renders one raw shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._readback = ReadBack(self._recipe.seed)
        self._makers: dict[str, Maker] = {}

    def run(self, task: Json, at: At) -> Json:
        """Writes the tar; the receipt has its pages and its digest, and says what was used to make them."""
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
            for page in pages:
                facts = json.dumps(_record(page), sort_keys=True, ensure_ascii=False)
                archive.add(f"{page.name}.json", facts.encode())
                if page.image is not None:
                    archive.add(f"{page.name}.jpg", page.image)
                rows += 1
            archive.end()
            sha256 = archive.sink.written(rows).sha256
        at(IDLE)
        blamed = {row: _item(task, int(row)).name for row in task.get("verdicts", {})}
        return {"rows": rows, "made_with": task["fonts"], "blamed": blamed, "sha256": sha256}

    def _pages(self, source: Source, task: Json, at: At) -> Iterator[Page]:
        maker = self._maker(source, task)
        count = len(task["documents"]) if "documents" in task else task["stop"] - task["start"]
        for row in [task["only"]] if "only" in task else range(count):
            at(row)
            item = _item(task, row)
            verdict = task.get("verdicts", {}).get(str(row)) if "only" not in task else None
            if verdict:
                yield Page(item.name, error=RowError(*verdict))
                continue
            try:
                with doing(f"the generator {source.format}"):
                    for page in maker.pages(item):
                        if strange := {view.task for view in page.views} - TASKS.keys():
                            raise InputError(
                                f"source {source.id}: the generator {source.format} makes samples of the unknown task "
                                f"{', '.join(sorted(strange))}; tasks are {', '.join(TASKS)}"
                            )
                        yield self._read_back(source, page)
                        # a document of many pages has the deadline of one row for each
                        at(row)
            except RowError as error:
                yield Page(item.name, error=error)
            except Exception as error:
                error.add_note(f"in the generator {source.format}, while {source.id}/{item.name} was made")
                raise

    def _maker(self, source: Source, task: Json) -> Maker:
        """Returns the source's maker. Raises InputError where this worker would make other pages than planned."""
        if source.id not in self._makers:
            here = facts_of(self._recipe, source)
            if here != task["facts"]:
                raise InputError(
                    f"source {source.id}: a worker renders with {_named(here)}, where the run began with "
                    f"{_named(task['facts'])}; install the same everywhere"
                )
            self._makers[source.id] = generator_of(source).open(job_of(self._recipe, source))
        maker = self._makers[source.id]
        if "language" in task and maker.fonts(task["language"]) != task["fonts"]:
            raise InputError(
                f"source {source.id}: a worker has other fonts for {task['language']} than the run began with; "
                "install the same everywhere"
            )
        return maker

    def _read_back(self, source: Source, page: Page) -> Page:
        """Returns the page with what an OCR makes of it, where it is among the share that is read back."""
        settings = source.render
        # what is refused all the same need not be read
        if not isinstance(settings, TextPageSettings) or page.image is None or page.refusal:
            return page
        if not self._readback.is_drawn(source.id, page.name, settings.readback):
            return page
        agreement = self._readback.agreement(page, settings.reader, settings.models)
        if agreement is None:
            return page
        wrong = mismatch(agreement.error_rate, settings.max_error)
        return replace(page, error_rate=agreement.error_rate, refusal={"mismatch": wrong} if wrong else {})

    def close(self) -> None:
        """Ends what the makers hold, such as a browser."""
        while self._makers:
            self._makers.popitem()[1].close()


def mismatch(error_rate: float, limit: float) -> str:
    """Returns the figure of a page whose image does not bear out its text; empty where it does."""
    return f"character error rate {error_rate:.3f}, more than {limit:g}" if error_rate > limit else ""


def _named(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(facts.items()))


def _item(task: Json, row: int) -> Item:
    """Returns what a row of the task is made from."""
    if "documents" in task:
        name, path = task["documents"][row]
        return Item(name, path=path)
    language, number = task["language"], task["start"] + row
    return Item(f"{language}-{number:08d}", number, language)


def _record(page: Page) -> Json:
    """Returns the JSON beside a page: its samples, or why it has none, and how well it was read back."""
    if page.error is not None:
        return {"error": page.error.kind, "error_message": page.error.message}
    record: Json = {"language": page.language, "samples": "[]"}
    if page.error_rate is not None:
        record["error_rate"] = round(page.error_rate, 5)
    if page.parameters is not None:
        record["parameters"] = json.dumps(page.parameters, sort_keys=True, ensure_ascii=False)
    if page.refusal:
        record["refusal"] = next(iter(page.refusal))
        record["refusal_text"] = "; ".join(f"{name}: {figure}" for name, figure in page.refusal.items())
    else:
        samples = [
            {"task": view.task, "language": view.language, "turns": turns_json(view.turns)}
            for view in page.views
        ]
        record["samples"] = json.dumps(samples, ensure_ascii=False, sort_keys=True)
    return record


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
