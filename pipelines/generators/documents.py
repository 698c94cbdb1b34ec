"""Generators `pdf` and `html`: the pages of documents, as a reader or a browser shows them."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from pipelines.files import Store, is_local, local_path
from pipelines.generators import Generator, Item, Job, Maker, Page, TextPageSettings, pillow, text_tasks
from pipelines.generators.inputs import listed
from pipelines.receipts import fingerprint
from schemas.errors import InputError, RowError

if TYPE_CHECKING:
    from synth.documents import DocumentPage, PageFailure

_LONGEST: Final = 80
"""Bytes of a name in UTF-8: with the page's number and a suffix it fits into a tar's header."""


class DocumentSettings(TextPageSettings):
    """How documents are shown."""

    level: Literal["line", "word"] = Field("line", description="what has a quad of its own")


def documents(job: Job, paths: Sequence[str], suffixes: tuple[str, ...]) -> list[Item]:
    """Returns every document below `paths`, sorted by name, with a name for its pages.

    Raises InputError where two documents of different places have one name.
    """
    found: dict[str, str] = {}
    for path in paths:
        for info in listed(job.store, path):
            if not info.name.lower().endswith(suffixes):
                continue
            if found.setdefault(info.name, info.path) != info.path:
                raise InputError(
                    f"source {job.source}: two documents are called {info.name}; name one folder above them"
                )
    stems = {name: stem(name) for name in found}
    shared = Counter(stems.values())
    return [
        Item(stems[name] if shared[stems[name]] == 1 else f"{stems[name]}-{_digest(name)}", path=path)
        for name, path in sorted(found.items())
    ]


def _assets(store: Store, items: Sequence[Item]) -> Iterator[str | None]:
    """Returns for each page what its folder holds, as a digest: images and styles show in it; None if not local.

    The pages themselves are left out: one that links another does not show it.
    """
    known: dict[str, str] = {}
    for item in items:
        folder = item.path.rpartition("/")[0] or "."
        if is_local(item.path) and folder not in known:
            files = [one for one in store.list_files(folder) if not one.name.endswith(HTML.suffixes)]
            known[folder] = fingerprint([(one.name, store.identity_of(one)) for one in files])
        yield known.get(folder)


def stem(name: str) -> str:
    """A document's name as that of its pages: without suffix, folder or dot, and not too long for a tar."""
    plain = re.sub(r"[^\w-]", "_", (name.rpartition(".")[0] or name).replace("/", "__"))
    if len(plain.encode("utf-8", "replace")) <= _LONGEST:
        return plain
    cut = plain.encode("utf-8")[: _LONGEST - 9].decode("utf-8", "ignore")
    return f"{cut}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _shown(
    job: Job,
    rules: Sequence[str],
    pages: Callable[[Item], Iterator["DocumentPage | PageFailure"]],
    item: Item,
) -> Iterator[Page]:
    """Yields the pages of a document; an error ends it with a page of that error."""
    from synth.documents import PageFailure, judge
    from synth.regions import text_views

    name = item.name
    settings: DocumentSettings = job.settings
    try:
        for page in pages(item):
            name = f"{item.name}-p{page.number:05d}"
            if isinstance(page, PageFailure):
                yield Page(name, error=RowError(page.kind, page.message))
            else:
                views = text_views(page.lines, "und", settings.level, whole=settings.whole_text)
                refusal = judge(page, rules)
                yield Page(name, page.image, "und", views, page.lines, refusal)
            name = f"{item.name}-p{page.number + 1:05d}"
    except RowError as error:
        yield Page(name, error=error)


def _open_pdf(job: Job) -> Maker:
    from synth.documents import PDF_RULES
    from synth.pdf import PdfLimits, pdf_pages

    def pages(item: Item) -> Iterator["DocumentPage | PageFailure"]:
        return pdf_pages(_read(job.store, item.path, PdfLimits().max_bytes))

    return Maker(partial(_shown, job, PDF_RULES, pages))


def _open_html(job: Job) -> Maker:
    from synth.documents import HTML_RULES
    from synth.web import WebLimits, WebRenderer

    browser: list[WebRenderer] = []

    def pages(item: Item) -> Iterator["DocumentPage | PageFailure"]:
        folder = Path(local_path(item.path)).parent if is_local(item.path) else None
        if not browser:
            browser.append(WebRenderer())
        return browser[0].pages(_read(job.store, item.path, WebLimits().max_bytes), folder)

    def close() -> None:
        """Ends the browser; a document after that starts another."""
        while browser:
            browser.pop().close()

    return Maker(partial(_shown, job, HTML_RULES, pages), close=close)


def _read(store: Store, path: str, limit: int) -> bytes:
    """Returns the document. Raises RowError where it is larger than the limit."""
    size = store.info(path).size
    if size > limit:
        raise RowError("too_large", f"{size} bytes, more than {limit}")
    return store.read_bytes(path, limit)


def _system_fonts() -> dict[str, str]:
    """Returns how many fonts the system has, and their digest: documents show in them."""
    from synth.page import fonts

    try:
        digests = sorted({face.identity.digest for face in fonts.find().faces})
    except InputError:  # a PDF may bring all of its own
        digests = []
    return {"fonts of the system": f"{len(digests)} files ({fingerprint(digests)[:16]})"}


def _html_facts(job: Job) -> dict[str, str]:
    from synth.chromium import find, version

    return {**_system_fonts(), **pillow("libjpeg_turbo"), "browser": version(find())}


def _html_marks(job: Job, items: Sequence[Item]) -> list[Any]:
    beside = _assets(job.store, items)
    return [(job.store.identity(item.path), assets) for item, assets in zip(items, beside, strict=True)]


PDF = Generator(
    name="pdf",
    settings=DocumentSettings,
    open=_open_pdf,
    libraries=("pillow", "pypdfium2"),
    tasks=text_tasks,
    suffixes=(".pdf",),
    per_task=8,
    facts=lambda job: {**_system_fonts(), **pillow("libjpeg_turbo")},
    marks=lambda job, items: [job.store.identity(item.path) for item in items],
)
HTML = Generator(
    name="html",
    settings=DocumentSettings,
    open=_open_html,
    libraries=("pillow", "playwright"),
    tasks=text_tasks,
    suffixes=(".html", ".htm", ".xhtml"),
    per_task=8,
    facts=_html_facts,
    marks=_html_marks,
)
