"""The documents of a source, each with a name of its own, and what lies beside an HTML page."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from pipelines.files import Store, is_local
from pipelines.receipts import fingerprint
from pipelines.recipe.model import Source
from schemas.errors import InputError

SUFFIXES: Final = {"pdf": (".pdf",), "html": (".html", ".htm", ".xhtml")}
_LONGEST: Final = 80
"""Bytes of a name in UTF-8: with the page's number and a suffix it fits into a tar's header."""


def documents(source: Source, store: Store) -> list[tuple[str, str]]:
    """(name for its pages, path) of every document of the source, sorted by the documents' own names.

    Raises InputError where two documents of different places have one name.
    """
    found: dict[str, str] = {}
    for path in source.path:
        for name, where in _listed(store, path):
            if not name.lower().endswith(SUFFIXES[str(source.format)]):
                continue
            if found.setdefault(name, where) != where:
                raise InputError(
                    f"source {source.id}: two documents are called {name}; name one folder above them"
                )
    stems = {name: stem(name) for name in found}
    shared = Counter(stems.values())
    return [
        (stems[name] if shared[stems[name]] == 1 else f"{stems[name]}-{_digest(name)}", path)
        for name, path in sorted(found.items())
    ]


def assets(store: Store, paths: Iterable[str]) -> dict[str, str]:
    """For each local page what its folder holds, as a digest: pictures and styles show in it.

    The pages themselves are left out: one that links another does not show it.
    """
    marks: dict[str, str] = {}
    known: dict[str, str] = {}
    found = {}
    for path in paths:
        if not is_local(path):
            continue
        folder = path.rpartition("/")[0] or "."
        if folder not in known:
            files = [one for one in store.list_files(folder) if not one.name.endswith(SUFFIXES["html"])]
            for one in files:
                if one.path not in marks:
                    marks[one.path] = store.identity(one.path)
            known[folder] = fingerprint([(one.name, marks[one.path]) for one in files])
        found[path] = known[folder]
    return found


def stem(name: str) -> str:
    """A document's name as that of its pages: without suffix, folder or dot, and not too long for a tar."""
    plain = re.sub(r"[^\w-]", "_", (name.rpartition(".")[0] or name).replace("/", "__"))
    if len(plain.encode("utf-8", "replace")) <= _LONGEST:
        return plain
    cut = plain.encode("utf-8")[: _LONGEST - 9].decode("utf-8", "ignore")
    return f"{cut}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _listed(store: Store, path: str) -> list[tuple[str, str]]:
    """(name, path) of the files that a path of the recipe stands for; folders are looked through whole."""
    if store.is_folder(path):
        return [(info.name, info.path) for info in store.list_files(path)]
    if any(mark in path for mark in "*?["):
        return [(one.rsplit("/", 1)[-1], one) for one in store.glob(path)]
    info = store.info(path)
    return [(info.name, info.path)]
