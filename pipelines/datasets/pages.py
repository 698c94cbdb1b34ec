"""Saved pages: HTML and Markdown files with pictures in their own folder."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from posixpath import normpath
from typing import Any, Final

from pipelines.datasets import html_page, markdown_page
from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import label
from pipelines.datasets.interleave import DEFAULT, Limits, document
from pipelines.datasets.reasons import Refused

_READERS: Final = {
    ".html": html_page.blocks,
    ".htm": html_page.blocks,
    ".xhtml": html_page.blocks,
    ".md": markdown_page.blocks,
    ".markdown": markdown_page.blocks,
}
MAX_FILES: Final = 100_000
MAX_BYTES: Final = 32 * 1024 * 1024


def records(folder: Path) -> Iterator[Record]:
    """One record a page below `folder`, in order of path, which names it; with the files it may show.

    A page may show files in its own folder and below; links that lead out of it are not followed.
    """
    beside: dict[Path, frozenset[str]] = {}
    for path in sorted(folder.rglob("*"), key=lambda one: one.relative_to(folder).as_posix()):
        if path.suffix.lower() not in _READERS or not path.is_file():
            continue
        member = path.relative_to(folder).as_posix()
        try:
            if path.parent not in beside:
                beside[path.parent] = _files(path.parent)
            page = _read(path, folder)
        except Refused as error:
            yield Record(member, {}, error.refusal)
            continue
        base = path.parent.relative_to(folder).as_posix()
        own = {"page": page, "suffix": path.suffix.lower(), "files": beside[path.parent], "base": base}
        yield Record(member, own)


def build(records: Iterable[Record], language: str = "und", limits: Limits = DEFAULT) -> Iterator[Built]:
    """For each page one sample, or several where it is long; pictures are named from the records' folder."""

    def make(value: Mapping[str, Any]) -> Made:
        blocks, lost, own = _READERS[value["suffix"]](value["page"], value["files"])
        base = value.get("base", "")
        placed = [
            one._replace(name=normpath(f"{base}/{one.name}")) if isinstance(one, Picture) else one
            for one in blocks
        ]
        return document(placed, label(value.get("language") or own, language), lost, limits), lost

    return outcomes(records, make)


def _read(path: Path, folder: Path) -> bytes:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise Refused("outside_image", "the page is a link that leads out of the folder")
    if path.stat().st_size > MAX_BYTES:
        raise Refused("too_large", f"a page of {path.stat().st_size} bytes")
    return path.read_bytes()


def _files(folder: Path) -> frozenset[str]:
    """Names of the files in and below `folder` that really lie there."""
    root = folder.resolve()
    names = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.resolve().is_relative_to(root):
            names.add(path.relative_to(folder).as_posix())
            if len(names) > MAX_FILES:
                raise Refused("too_large", f"more than {MAX_FILES} files beside a page")
    return frozenset(names)
