"""The manifest: what a corpus is made of, how, and what became of every input row.

`manifest.json` is `Manifest.dump()`; two equal runs have equal manifests, to the byte. So it holds no
time, host, path outside the corpus, engine or number of workers.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from schemas.errors import VerifyError
from schemas.manifest_files import Count, Listed, Order, Output, Record, Sha256, is_list, stem
from schemas.mixture import read, shares
from schemas.plugins import Plugin
from schemas.strict import FieldError

MANIFEST: Final = "manifest.json"
SUM: Final = "manifest.sha256"
"""The file with the manifest's own SHA-256, as `sha256sum -c` reads it."""

UNNAMED: Final = (MANIFEST, SUM, "run.json")
"""Files beside `work/` that no manifest names: itself, its digest, and what is true of one run only."""

CARD: Final = "README.md"
RECIPE: Final = "recipe.json"
"""What the recipe's digest is of: all of the recipe that determines the data."""

OTHERS: Final = ("work/", "train/")
"""Folders of a corpus that are of a run, or made from the corpus by a training: no manifest names their files."""

MAX_BYTES: Final = 1 << 30
"""A manifest above this size is refused unread: ours take about 150 bytes for each file that they name themselves."""


def is_of_corpus(name: str) -> bool:
    """Returns whether a file of this name is the corpus's own, so that its manifest has to name it.

    Names at the top that start with a dot (`.git/`, `.gitattributes`, `.cache/`) are of other programs.
    """
    return not name.startswith((".", *OTHERS)) and name not in UNNAMED


def is_of_shards(name: str) -> bool:
    """Returns whether a file of this name is one that belongs to shards: one of theirs, or a list of them."""
    return name.startswith("shards/") or is_list(name)


def relative(name: str) -> str:
    """Returns `name` itself if it stays inside the corpus and names a file of it; raises ValueError otherwise."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in parts[0] or re.search(r"[\x00-\x1f\x7f]", name):
        raise ValueError(f"{name!r} is not a relative name with / between its parts")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} leaves the corpus or holds an empty part")
    if f"{parts[0]}/" in OTHERS or name in UNNAMED:
        raise ValueError(f"{name!r} is of the run, not of the corpus")
    if parts[0] == "shards" and len(parts) != 5:
        raise ValueError(f"{name!r} is no file of shards/SPLIT/GROUP/SOURCE")
    return name


class RuleCount(Record):
    """What one rule did to one source: rows that it dropped as the first to fail, and all that failed it."""

    rule: str
    dropped: Count
    failed: Count


class Funnel(Record):
    """What became of the rows of one source; `rules` stand in the order in which they are applied."""

    rows: Count
    kept: Count
    dropped: Count
    quarantined: Count
    rules: tuple[RuleCount, ...] = ()
    errors: dict[str, Count] = Field(default={}, description="quarantined rows by class of error")

    def problems(self) -> Iterator[str]:
        """Returns one sentence for every sum that does not come out."""
        total = self.kept + self.dropped + self.quarantined
        if total != self.rows:
            yield f"kept + dropped + quarantined is {total:,}, but there are {self.rows:,} rows"
        first = sum(rule.dropped for rule in self.rules)
        if first != self.dropped:
            yield f"the rules dropped {first:,} rows, but {self.dropped:,} are dropped"
        errors = sum(self.errors.values())
        if errors != self.quarantined:
            yield f"the errors are {errors:,}, but {self.quarantined:,} rows are quarantined"
        for rule, times in Counter(rule.rule for rule in self.rules).items():
            if times > 1:
                yield f"rule {rule} is counted {times} times"
        for one in self.rules:
            if not one.dropped <= one.failed <= self.dropped:
                yield f"rule {one.rule} dropped {one.dropped:,} rows, but {one.failed:,} failed it"


class Source(Record):
    """One dataset that went in. `origin` is public text, never a path."""

    id: str
    origin: str = ""
    licence: str = "unknown"
    role: str = "train"
    rows: Count


class SampleCount(Record):
    """How many samples of one (split, group, source) came out, and how many images they hold."""

    split: str
    group: str
    source: str
    samples: Count
    images: Count


class ViewCount(Record):
    """How many views of one (split, group, task, source) came out, by language."""

    split: str
    group: str
    task: str
    source: str
    views: Count
    languages: dict[str, Count] = Field(default={})


class Size(Record):
    """How much the views of one (split, task, source) come to.

    `images` counts the places of images in them; `tokens` is None where the recipe names no tokenizer.
    """

    split: str
    task: str
    source: str
    views: Count
    images: Count
    characters: Count
    tokens: Count | None = None


class Verdict(Record):
    """A row that was given up on for time or memory, which another machine might not have to."""

    source: str
    shard: str
    member: str
    error: str
    message: str = ""


class BadShard(Record):
    """An input shard that broke off: the rows read before the damage count, the rest is unknown."""

    source: str
    shard: str
    rows: Count
    error: str


class UnusedMembers(Record):
    """Members that no row uses for one reason; `images` of them hold an image."""

    members: Count
    images: Count
    examples: tuple[str, ...] = Field(default=(), description="shard: name of a member")


class Members(Record):
    """What became of the members of a source's tars: members = used + metadata + unused."""

    members: Count
    records: Count = Field(description="rows that the members give; `sample` may take fewer")
    used: Count = Field(description="images, captions and records that rows are made of")
    metadata: Count = Field(description="what else stands beside a row")
    images: Count
    last_dot: Count = Field(0, description="tars whose names are split at the last dot")
    unused: dict[str, UnusedMembers] = Field(default={})

    @property
    def unused_images(self) -> int:
        """Returns the images that no row uses."""
        return sum(one.images for one in self.unused.values())

    def problems(self, rows: int) -> Iterator[str]:
        """Returns one sentence for every sum that does not come out; `rows` is what the funnel counts."""
        total = self.used + self.metadata + sum(one.members for one in self.unused.values())
        if total != self.members:
            yield f"used + metadata + unused members are {total:,}, but its tars have {self.members:,}"
        if rows > self.records:
            yield f"its tars hold {self.records:,} rows, the funnel counts {rows:,}"
        if self.unused_images > self.images:
            yield f"{self.unused_images:,} images are unused, but its tars have {self.images:,}"


class AnnotationCount(Record):
    """What became of the annotations of one source: annotations = kept + lost."""

    annotations: Count
    kept: Count
    lost: dict[str, Count] = Field(default={}, description="by the reason of the annotation, else of its row")

    def problems(self) -> Iterator[str]:
        """Returns one sentence where the sum does not come out."""
        total = self.kept + sum(self.lost.values())
        if total != self.annotations:
            yield f"kept + lost annotations are {total:,}, but there are {self.annotations:,}"


def _sorted(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Returns the entries sorted by name; those of a list were checked when it was read."""
    return value if isinstance(value, Listed | Order) else dict(sorted(handler(value).items()))


def _whole(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all entries, those of a list too, as a dict that can be dumped."""
    return dict(value.items())


Outputs = Annotated[
    Mapping[Annotated[str, AfterValidator(relative)], Output],
    WrapValidator(_sorted),
    PlainSerializer(_whole, return_type=dict[str, Output]),
]
Shards = Annotated[
    Mapping[str, tuple[str, ...]],
    WrapValidator(_sorted),
    PlainSerializer(_whole, return_type=dict[str, tuple[str, ...]]),
]


class Manifest(Record):
    """Everything that `vlcorpus verify` and the dataset card go by."""

    schema_version: Literal[3] = 3
    name: str = "corpus"
    recipe: Sha256 = Field(description="digest of the recipe, over what determines the data")
    seed: int
    versions: dict[str, str] = Field(description="libraries whose version can change the data")
    facts: dict[str, str] = Field(
        default={}, description="what else of the machine can change the data: codecs, browsers, chunkers"
    )
    filters: dict[str, int] = Field(
        default={}, description="filters that measured the rows, with their versions"
    )
    plugins: tuple[Plugin, ...] = Field((), description="what installed packages gave: name, version, digest")
    sources: tuple[Source, ...]
    fonts: tuple[str, ...] = Field((), description="fonts that pages were set in: name, version, digest")
    scorers: tuple[str, ...] = Field(
        (), description="what gave CLIP scores: a model and its weights, or a field"
    )
    thresholds: dict[str, dict[str, JsonValue]] = Field(default={}, description="source -> rule -> settings")
    funnel: dict[str, Funnel] = Field(description="source -> what became of its rows")
    members: dict[str, Members] = Field(default={}, description="source -> the members of its tars")
    annotations: dict[str, AnnotationCount] = Field(
        default={}, description="source of annotations -> what became of each of them"
    )
    samples: tuple[SampleCount, ...] = ()
    sizes: tuple[Size, ...] = ()
    tokenizer: str = Field("", description="what tokens are counted by; empty: nothing counts them")
    preset: str = Field("", description="the model preset by which images are counted")
    image_tokens: Count = Field(0, description="tokens of an image by that preset, its two tags among them")
    mixture: dict[str, dict[str, int | float]] = Field(
        default={},
        description="TASK/SOURCE or a pattern -> weight or epochs, max_samples: what an epoch draws",
    )
    views: tuple[ViewCount, ...] = ()
    licences: dict[str, dict[str, Count]] = Field(
        default={}, description="source -> licence -> views; of very many licences the rarer ones as `other`"
    )
    verdicts: tuple[Verdict, ...] = ()
    bad_shards: tuple[BadShard, ...] = ()
    outputs: Outputs = Field(default={})
    shards: Shards = Field(
        default={}, description="folder of shards -> their names in the order of their data"
    )
    files: str | None = Field(
        None,
        description="the list that has the files below shards/ and their order, where they are very many",
    )

    @model_validator(mode="after")
    def _names_its_list(self) -> "Manifest":
        if self.files is not None and (self.files not in self.outputs or "/" in self.files):
            raise ValueError(f"it names no digest of {self.files!r}, its list of files")
        return self

    @model_validator(mode="after")
    def _sums(self, info: ValidationInfo) -> "Manifest":
        # `load(sums=False)` lets `vlcorpus verify` report wrong sums beside all else that is wrong
        if (info.context or {}).get("sums", True):
            problems = list(self.problems())
            if problems:
                raise ValueError("; ".join(problems))
        return self

    def problems(self) -> Iterator[str]:
        """Returns one sentence for every count that contradicts another."""
        ids = [source.id for source in self.sources]
        if len(set(ids)) != len(ids) or set(ids) != set(self.funnel):
            yield f"the funnel counts {sorted(self.funnel)}, but the sources are {sorted(ids)}"
        rows = {source.id: source.rows for source in self.sources}
        for source, funnel in self.funnel.items():
            for problem in funnel.problems():
                yield f"source {source}: {problem}"
            if rows.get(source, funnel.rows) != funnel.rows:
                yield f"source {source}: {rows[source]:,} rows went in, the funnel counts {funnel.rows:,}"
            if source in self.members:
                for problem in self.members[source].problems(funnel.rows):
                    yield f"source {source}: {problem}"
        for source, annotated in self.annotations.items():
            for problem in annotated.problems():
                yield f"source {source}: {problem}"
        if strange := self.annotations.keys() - set(ids):
            yield f"annotations are counted of {sorted(strange)}, but the sources are {sorted(ids)}"
        if strange := self.members.keys() - set(ids):
            yield f"members are counted of {sorted(strange)}, but the sources are {sorted(ids)}"
        for count in self.views:
            languages = sum(count.languages.values())
            if languages != count.views:
                yield f"{_folder(count)}: {count.views:,} views of task {count.task}, but {languages:,} by language"
        views: Counter[str] = Counter()
        for count in self.views:
            views[count.source] += count.views
        for source in sorted(views.keys() | self.licences.keys()):
            if views[source] != (licensed := sum(self.licences.get(source, {}).values())):
                yield f"source {source}: {views[source]:,} views, but {licensed:,} by licence"
        yield from self._size_problems()
        yield from self._shard_problems()

    def _size_problems(self) -> Iterator[str]:
        if not self.sizes:
            return
        counted: Counter[tuple[str, str, str]] = Counter()
        for count in self.views:
            counted[count.split, count.task, count.source] += count.views
        sized = Counter({(one.split, one.task, one.source): one.views for one in self.sizes})
        for name in sorted({name for name in counted | sized if counted[name] != sized[name]}):
            yield f"{'/'.join(name)}: {counted[name]:,} views, but the size of {sized[name]:,}"
        train = {
            f"{task}/{source}": views for (split, task, source), views in sized.items() if split == "train"
        }
        try:
            shares(read(self.mixture), train)
        except FieldError as error:
            yield f"mixture: {error}"

    def _shard_problems(self) -> Iterator[str]:
        if self.files is not None and not isinstance(self.outputs, Listed):
            return  # its list is not read yet
        rows: Counter[str] = Counter()
        there: dict[str, list[str]] = {}
        for name, output in self.sample_outputs():
            folder, _, file = stem(name).rpartition("/")
            rows[folder] += output.rows or 0
            if self.files is None:  # the order of a list was checked when it was read
                there.setdefault(folder, []).append(file)
        for folder in sorted(there.keys() | self.shards.keys()) if self.files is None else ():
            if sorted(self.shards.get(folder, ())) != sorted(set(there.get(folder, ()))):
                yield f"{folder}: the order of its shards does not name each of them once"
        counted = Counter({_folder(count): count.samples for count in self.samples})
        for folder in sorted(set(rows) | set(counted)) if self.outputs else []:
            if rows[folder] != counted[folder]:
                yield f"{folder}: {counted[folder]:,} samples are counted, its shards hold {rows[folder]:,}"

    def sample_outputs(self) -> Iterator[tuple[str, Output]]:
        """Yields the files that hold samples, sorted by name: tars without their indexes, and Parquet."""
        for shard, group in groupby(self.outputs.items(), lambda one: stem(one[0])):
            files = dict(group)
            if shard.startswith("shards/"):
                index = f"{shard}.parquet" if f"{shard}.tar" in files else None
                yield from ((name, output) for name, output in files.items() if name != index)

    def sample_files(self) -> Iterator[str]:
        """Yields the names of the files that hold samples, sorted."""
        return (name for name, _ in self.sample_outputs())

    def with_outputs(self, more: Mapping[str, Output]) -> "Manifest":
        """Returns the manifest with more files, none of them below `shards/`."""
        has = self.outputs
        outputs = has.with_few(more) if isinstance(has, Listed) else dict(sorted({**has, **more}.items()))
        return self.model_copy(update={"outputs": outputs})

    def with_list(self, files: Listed) -> "Manifest":
        """Returns the manifest with the files of its list; VerifyError where it has an order of shards itself."""
        if self.shards:
            raise VerifyError(
                "manifest.json has an order of shards beside a list of files, which has the order"
            )
        return self.model_copy(update={"outputs": files, "shards": files.order})

    def dump(self) -> bytes:
        """Returns the one JSON text of this manifest: sorted keys, UTF-8, a line feed at the end."""
        return _text(self._record())

    def seal(self) -> str:
        """Returns the SHA-256 that the card states: of this manifest without its line on the card."""
        return sealed(self._record())

    def _record(self) -> dict[str, Any]:
        """Returns what stands in manifest.json: without what stands in its list, or without a word of one."""
        if not isinstance(self.outputs, Listed):
            return self.model_dump(mode="json", exclude={"files"} if self.files is None else None)
        few = {name: output.model_dump(mode="json") for name, output in self.outputs.few.items()}
        return self.model_dump(mode="json", exclude={"outputs", "shards"}) | {"outputs": few, "shards": {}}


def sealed(record: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a manifest's JSON without its line on the card, which states it."""
    outputs = {name: output for name, output in record.get("outputs", {}).items() if name != CARD}
    return hashlib.sha256(_text({**record, "outputs": outputs})).hexdigest()


def sum_file(data: bytes) -> bytes:
    """Returns what the file SUM says of a manifest of these bytes."""
    return f"{hashlib.sha256(data).hexdigest()}  manifest.json\n".encode()


def _text(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _folder(count: SampleCount | ViewCount) -> str:
    return f"shards/{count.split}/{count.group}/{count.source}"


def load(data: bytes, *, sums: bool = True) -> Manifest:
    """Returns the manifest that `data` holds; raises VerifyError where something is wrong with it.

    With `sums=False` counts may contradict each other: ask `Manifest.problems()`.
    """
    if len(data) > MAX_BYTES:
        raise VerifyError(f"manifest.json has {len(data):,} bytes, above the limit of {MAX_BYTES:,}")
    try:
        return Manifest.model_validate_json(data, context={"sums": sums})
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if any(problem["loc"] == ("schema_version",) for problem in problems):
            raise VerifyError(
                "manifest.json is of another version of vlcorpus: build the corpus again, in the same folder, with "
                "this one"
            ) from error
        first = problems[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise VerifyError(f"manifest.json is not a manifest: {place}: {first['msg']}") from error
