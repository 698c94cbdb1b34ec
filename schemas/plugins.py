"""What installed packages add to vlcorpus: filters, datasets and generators, each named by an entry point.

A package gives a value of its own in its pyproject.toml:

    [project.entry-points."vlcorpus.datasets"]
    receipts = "acme_receipts:RECEIPTS"
"""

import hashlib
import importlib.util
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Final, TypeVar

from schemas.errors import RecipeError, nearest

FILTERS: Final = "vlcorpus.filters"
DATASETS: Final = "vlcorpus.datasets"
GENERATORS: Final = "vlcorpus.generators"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Plugin:
    """Where a value comes from: `digest` is the SHA-256 of the source of the package that holds it."""

    group: str
    name: str
    package: str
    version: str
    digest: str


def names(group: str) -> tuple[str, ...]:
    """Returns the names that installed packages give to values of `group`, sorted; imports none of them."""
    return tuple(sorted({point.name for point in _points(group, tuple(sys.path))}))


def lookup(group: str, name: str, own: Mapping[str, T], kind: type[T]) -> tuple[T, Plugin | None]:
    """Returns the value called `name`: one of our `own`, else an installed package's with where it is from.

    Raises RecipeError for an unknown name, and for one of ours that a package gives too.
    """
    if name not in own:
        if name not in names(group):
            raise RecipeError(unknown(group, name, own))
        return find(group, name, kind)
    if name in names(group):
        raise RecipeError(
            f"{_givers(group, name)} gives {name!r} in {group}, which is a name of ours: uninstall it"
        )
    return own[name], None


def find(group: str, name: str, kind: type[T]) -> tuple[T, Plugin]:
    """Returns the value of type `kind` that an installed package calls `name`, and where it is from.

    Raises RecipeError where no package or several give it, where importing it fails, and for another type.
    """
    points = [point for point in _points(group, tuple(sys.path)) if point.name == name]
    if not points:
        raise RecipeError(unknown(group, name, ()))
    if len(points) > 1:
        raise RecipeError(f"{_givers(group, name)} both give {name!r} in {group}: uninstall one of them")
    (point,) = points
    distribution = point.dist
    assert distribution is not None  # entry_points() names it for every entry
    where = f"{name!r} of the package {distribution.name} {distribution.version} ({group}: {point.value})"
    try:
        value = point.load()
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())
        raise RecipeError(f"{where} cannot be imported: {type(error).__name__}: {told}") from error
    if not isinstance(value, kind):
        raise RecipeError(f"{where} is a {type(value).__name__}, not a {kind.__module__}.{kind.__qualname__}")
    return value, _plugin(point, distribution)


def unknown(group: str, name: str, own: Collection[str]) -> str:
    """Returns the sentence for a name that neither we nor an installed package give, with the nearest one."""
    known = (*own, *names(group))
    here = f"known are {', '.join(known)}; " if known else ""
    return f"{name!r} is unknown here; {nearest(name, known)}{here}install the package with that entry point in {group}"


@cache
def _points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of `group` of the packages on `path`; a package found twice counts once, as for import."""
    first: dict[tuple[str, str], EntryPoint] = {}
    for point in entry_points(group=group):
        assert point.dist is not None
        first.setdefault((point.dist.name, point.name), point)
    return tuple(first.values())


def _givers(group: str, name: str) -> str:
    points = [point for point in _points(group, tuple(sys.path)) if point.name == name]
    return " and ".join(sorted(f"{point.dist.name} {point.dist.version}" for point in points if point.dist))


@cache
def _plugin(point: EntryPoint, distribution: Distribution) -> Plugin:
    digest = _source_digest(point.module)
    return Plugin(point.group, point.name, distribution.name, distribution.version, digest)


def _source_digest(module: str) -> str:
    """Returns the SHA-256 over the names and bytes of the files of the package that holds `module`."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None or spec.origin is None:  # a namespace that several packages may share
        spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    root = origin.parent
    files = [origin] if spec.submodule_search_locations is None else sorted(root.rglob("*"))
    digest = hashlib.sha256()
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            for part in (file.relative_to(root).as_posix().encode(), file.read_bytes()):
                digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
