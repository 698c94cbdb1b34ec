"""What a source's paths hold: the input shards, and the files that are none."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipelines.files import Entry, FileInfo, Store, join, shown
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.folder import named_images
from pipelines.sources.parts import Cuts, in_parts
from pipelines.sources.records import IMAGE_SUFFIXES
from pipelines.sources.shard import Discovery, InputShard, Reading
from pipelines.sources.table import KINDS, Kind
from pipelines.sources.urls import status_path
from schemas.errors import InputError
from schemas.manifest import MANIFEST

if TYPE_CHECKING:
    from pipelines.recipe.model import Source

GLOB: Final = re.compile(r"[*?\[]")
"""What makes a path a pattern."""

_SUFFIX: Final = re.compile(r"(\.tar\.(?:gz|bz2|xz|zstd?)|\.(?:jsonl|txt|csv|tsv)\.gz|\.[^./]*)$", re.I)
_OURS: Final = re.compile(r"((?:.*/)?)shards/(?:train|val|eval)/[^/]+/[^/]+/[^/]+", re.DOTALL)
"""The name of a shard in a corpus that vlcorpus built, below the corpus's folder."""

_OURS_ALONE: Final = re.compile(_OURS.pattern.removesuffix("[^/]+") + r"[0-9a-f]{16}\.parquet", re.DOTALL)
"""The path of an index or a Parquet shard in such a corpus."""

_SIDECARS: Final = (".txt", ".json", ".caption")
_COLUMNS: Final = Columns()
_LIMITS: Final = ReadLimits()


class Found(NamedTuple):
    """A file, the root that its shard id is relative to, its suffix, and the format that this announces."""

    root: str
    info: FileInfo
    suffix: str
    format: str | None
    given: bool = False

    @property
    def is_image(self) -> bool:
        """Whether the suffix is an image's."""
        return self.suffix[1:] in IMAGE_SUFFIXES

    @property
    def stem(self) -> str:
        """The path without the suffix."""
        return self.info.path[: len(self.info.path) - len(self.suffix)]

    @property
    def folder(self) -> tuple[str, str]:
        """The folder that it lies in: its root, and the name below it."""
        return self.root, posixpath.dirname(self.info.name)


def input_shards(source: "Source", limits: ReadLimits, cuts: Cuts | None = None) -> Discovery:
    """Returns a source's shards, sorted by id; InputError where there is nothing to read.

    Large files are read in parts; `cuts` knows those of files that were there before.
    """
    own = KINDS[source.kind].discover
    if own is not None:
        return own(source, Store(source.storage_options or None, source.id))
    options, several = source.storage_options, source.keeps_several
    found = discover(source.id, source.path, source.kind, options, source.columns, limits, several)
    store = Store(options or None, source.id)

    def reading(shard: InputShard) -> Reading:
        return Reading(shard, store, source.columns, limits)

    shards = in_parts(found.shards, reading, found.files, cuts or Cuts())
    return Discovery(shards, found.ignored, found.files)


def discover(
    source: str,
    paths: Sequence[str],
    kind: str = "auto",
    storage_options: Mapping[str, Any] | None = None,
    columns: Columns = _COLUMNS,
    limits: ReadLimits = _LIMITS,
    several: bool = False,
) -> Discovery:
    """The shards among the files below `paths` (files, folders, globs), sorted by id.

    With `auto`, a set with tars is WebDataset; else Parquet; else images with JSONL or CSV, or
    with sidecars; else text. With `several`, Parquet shards of ours that stand among tars are read too. Hidden files
    are never input. InputError if a path does not exist, nothing can be read, or two shards have one id.
    """
    store = Store(storage_options, source)
    found = [file for path in paths for file in _files(store, source, path, _formats())]
    seen = _without_corpora([file for file in found if not _is_hidden(file)])
    chosen = KINDS[_guess(store, seen) if kind == "auto" else kind]
    unread: Container[str] = ()
    if chosen.beside:
        shards, unread = _pairs(
            source, seen, chosen, lambda shard: named_images(Reading(shard, store, columns, limits))
        )
    else:
        shards = _shards(source, seen, chosen)
        if kind == "auto" and several and chosen.name == "webdataset":
            shards += _shards(source, _ours_alone(seen), KINDS["parquet"])
    if not shards:
        raise InputError(
            f"source {source}: nothing to read as {kind} in {', '.join(paths)}: look for .tar (or "
            ".tar.gz, .tar.bz2, .tar.xz, .tar.zst), .parquet, images with .jsonl or .csv, or name the source's `kind`"
        )
    distinct = _distinct(source, shards)
    read = {shard.path for shard in distinct}
    files = {file.info.path: file.info for file in seen if file.info.path in read}
    return Discovery(distinct, _ignored(found, shards, unread), files)


def _formats() -> dict[str, str]:
    """Returns the format that each suffix announces."""
    return {
        suffix: name
        for one in KINDS.values()
        for name, suffixes in one.formats.items()
        for suffix in suffixes
    }


def _files(store: Store, source: str, path: str, formats: Mapping[str, str]) -> list[Found]:
    entry = store.entry(path)
    if entry is None and GLOB.search(path):
        root = path[: GLOB.search(path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        matches = store.glob(path)
        if not matches:
            raise InputError(f"source {source}: nothing matches {path}; check the pattern")
        return [file for match in matches for file in _below(store, match, root, formats)]
    if entry is None:
        raise InputError(f"source {source}: {path} does not exist; check the spelling of the path")
    root = path if entry.is_folder else posixpath.dirname(path)
    return _below(store, entry, root, formats, given=True)


def _below(
    store: Store, entry: Entry, root: str, formats: Mapping[str, str], given: bool = False
) -> list[Found]:
    """The file that an entry is, or all files below the folder that it is, named relative to `root`."""
    path = entry.info.path
    prefix = path.rstrip("/").removeprefix(root.rstrip("/")).lstrip("/")
    if not entry.is_folder:
        # a .json that is given by its path may hold JSON lines
        suffix = _suffix(prefix)
        form = formats.get(".jsonl" if given and suffix == ".json" else suffix)
        return [Found(root, entry.info._replace(name=prefix), suffix, form, given)]
    found = []
    for info in store.list_files(path):
        name = join(prefix, info.name) if prefix else info.name
        suffix = _suffix(name)
        below = FileInfo(join(path, info.name), name, info.size, info.stamp, info.changed)
        found.append(Found(root, below, suffix, formats.get(suffix)))
    return found


def _without_corpora(files: Sequence[Found]) -> list[Found]:
    """Returns the files without those that lie beside the shards of a corpus that vlcorpus built."""
    names = ((file.root, file.info.name) for file in files)
    manifests = {(root, name.removesuffix(MANIFEST)) for root, name in names if name.endswith(MANIFEST)}
    if not manifests:
        return [*files]
    shards = ((file.root, _OURS.fullmatch(file.info.name)) for file in files)
    corpora = {(root, match[1]) for root, match in shards if match} & manifests

    def is_beside(file: Found) -> bool:
        name = file.info.name
        return any(
            file.root == root and name.startswith(top) and not name.startswith(f"{top}shards/")
            for root, top in corpora
        )

    return [file for file in files if not is_beside(file)]


def _ours_alone(files: Sequence[Found]) -> list[Found]:
    """Returns the Parquet shards of a corpus of ours, which are no index of a tar beside them."""
    tars = {file.stem for file in files if file.format == "tar"}
    return [file for file in files if _OURS_ALONE.fullmatch(file.info.path) and file.stem not in tars]


def _suffix(name: str) -> str:
    match = _SUFFIX.search(name)
    return match.group(1).lower() if match else ""


def _is_image(name: str) -> bool:
    return _suffix(name)[1:] in IMAGE_SUFFIXES


def _guess(store: Store, files: Sequence[Found]) -> str:
    formats = {file.format for file in files}
    if "tar" in formats:
        return "webdataset"
    count = sum(file.format == "parquet" for file in files)
    if count and not _is_files_layout(files) and len(_paired(files)) <= count:
        return "parquet"
    if any(file.is_image for file in files):
        return "folder"
    # JSONL or CSV given by name: its images lie below its folder, which nobody listed
    tables = [file for file in files if file.format in KINDS["folder"].formats]
    folders = sorted({posixpath.dirname(file.info.path) or "." for file in tables})
    beside = (info for folder in folders for info in store.list_files(folder))
    return "folder" if any(_is_image(info.name) for info in beside) else "text"


def _is_files_layout(files: Sequence[Found]) -> bool:
    """Whether each Parquet file lies beside a folder of its stem with images (img2dataset's "files")."""
    folders = {(file.root, posixpath.dirname(file.info.name)) for file in files if file.is_image}
    return all(
        (file.root, file.info.name[: -len(".parquet")]) in folders
        for file in files
        if file.format == "parquet"
    )


def _shards(source: str, files: Iterable[Found], kind: Kind) -> list[InputShard]:
    """The files of a format of the kind, and those that were named one by one whatever their suffix."""
    admitted = [*kind.formats]
    shards = []
    for file in files:
        form = file.format if file.format in admitted else None
        if form is None and file.given:
            if file.format is not None or len(admitted) > 1:
                raise InputError(
                    f"source {source}: {file.info.path} cannot be read as {kind.name}; name its `kind`"
                )
            form = admitted[0]
        if form is not None:
            shards.append(InputShard(source, _id(file), file.info.path, kind.name, form, file.info.size))
    return shards


def _pairs(
    source: str, files: Sequence[Found], kind: Kind, named: Callable[[InputShard], set[str] | None]
) -> tuple[list[InputShard], set[str]]:
    """The shards of folders of images, and the paths of images that none of them reads.

    A table (JSONL, CSV, TSV) is a shard unless it is astray among images that have sidecars. A folder is a shard if
    it has sidecars and no table names its images, or if there is no table at all.
    """
    images = [file for file in files if file.is_image]
    paired = _paired(files)
    tables = [file for file in files if file.format in kind.formats]
    below = _below_tables(images, {file.folder for file in tables})
    shards: list[InputShard] = []
    used: set[str] = set()
    for file in tables:
        (table,) = _shards(source, [file], kind)
        here = below[file.folder]
        found = named(table) if here else None
        if found is None or not _is_astray(found, here & paired, here - paired):
            shards.append(table)
            used |= here if found is None else found
    captioned = {file.folder for file in images if file.info.path in paired}
    captioned -= {file.folder for file in images if file.info.path in used}
    folders = _folders(source, [file for file in files if not shards or file.folder in captioned], kind)
    read = {shard.path for shard in folders}
    used |= {file.info.path for file in images if posixpath.dirname(file.info.path) in read}
    return [*shards, *folders], {file.info.path for file in images} - used


def _paired(files: Iterable[Found]) -> set[str]:
    """The paths of images that have a sidecar."""
    known = list(files)
    stems = {file.stem for file in known if file.suffix in _SIDECARS}
    return {file.info.path for file in known if file.is_image and file.stem in stems}


def _below_tables(
    images: Iterable[Found], folders: Collection[tuple[str, str]]
) -> dict[tuple[str, str], set[str]]:
    """The paths of the images below each of the folders."""
    below: dict[tuple[str, str], set[str]] = {folder: set() for folder in folders}
    for image in images:
        root, name = image.folder
        while True:
            if (root, name) in below:
                below[root, name].add(image.info.path)
            if not name:
                break
            name = posixpath.dirname(name)
    return below


def _is_astray(found: set[str], paired: set[str], others: set[str]) -> bool:
    """Whether a table names fewer than half of the images with sidecars, and mostly such."""
    both = len(found & paired)
    return 2 * both < len(paired) and len(found & others) <= both


def _folders(source: str, files: Sequence[Found], kind: Kind) -> list[InputShard]:
    """A shard for each folder that holds images; the source's root itself is called `root`."""
    sizes: Counter[tuple[str, str]] = Counter()
    for file in files:
        sizes[file.folder] += max(file.info.size, 0)
    return [
        InputShard(
            source,
            shown(name.replace("/", "__")) or "root",
            join(root, name) if name else root,
            kind.name,
            "files",
            sizes[root, name],
        )
        for root, name in sorted({file.folder for file in files if file.is_image})
    ]


def _id(file: Found) -> str:
    name = file.info.name
    return shown(name[: len(name) - len(file.suffix)].replace("/", "__"))


_ORDER: Final = attrgetter(*InputShard.__slots__)


def _distinct(source: str, shards: Iterable[InputShard]) -> tuple[InputShard, ...]:
    by_id: dict[str, InputShard] = {}
    by_path: dict[str, InputShard] = {}
    for shard in sorted(shards, key=_ORDER):
        same_id, same_path = by_id.get(shard.shard), by_path.get(shard.path)
        if same_id and same_id.path != shard.path:
            raise InputError(
                f"source {source}: {same_id.path} and {shard.path} would both be shard {shard.shard!r}; "
                "rename one, give the folder above both, or make them two sources"
            )
        if same_path and same_path.shard != shard.shard:
            raise InputError(f"source {source}: {shard.path} is named twice; give each file once")
        by_id[shard.shard] = by_path[shard.path] = shard
    return tuple(by_id.values())  # all of one source, so in the order of their ids


def _ignored(found: Iterable[Found], shards: Iterable[InputShard], unread: Container[str]) -> tuple[str, ...]:
    """Names of files that no shard uses: neither shards, nor what goes with a tar or a folder.

    `unread` are the images that none of the shards of a folder reads.
    """
    files = list(found)
    paths = {shard.path for shard in shards}
    stems = {_stem(shard.path) for shard in shards if shard.format == "tar"}
    folders = {shard.path for shard in shards if shard.format == "files"}
    ours = _of_fetch(files, paths)
    pairs = any(KINDS[shard.kind].beside for shard in shards)
    images = {file.stem for file in files if file.is_image}
    names = []
    for file in files:
        path = file.info.path
        used = path in paths or file.stem.removesuffix("_stats") in stems or path in ours
        if pairs and file.is_image:
            used = path not in unread and not _is_hidden(file)
        elif not used and file.suffix in _SIDECARS:
            used = posixpath.dirname(path) in folders and file.stem in images
        if not used:
            names.append(file.info.name)
    return tuple(sorted(set(names)))


def _of_fetch(files: Iterable[Found], shards: Container[str]) -> set[str]:
    """Paths of what phase fetch left beside its raw shards: their statuses, and the work/ of their folder."""
    paths = {file.info.path for file in files}
    statuses = {path: status_path(path) for path in paths if path in shards and path.endswith(".tar")}
    works = tuple(f"{posixpath.dirname(tar)}/work/" for tar, status in statuses.items() if status in paths)
    return {path for path in paths if path.startswith(works)} | paths.intersection(statuses.values())


def _is_hidden(file: Found) -> bool:
    return file.info.name.startswith(".") or "/." in file.info.name


def _stem(path: str) -> str:
    return path[: len(path) - len(_suffix(path))]
