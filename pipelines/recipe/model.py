"""The recipe: one YAML file that says what goes in, what is kept, and what comes out.

Everything is checked before any work begins; `load` turns what is wrong into one sentence with the
file, the line and the nearest valid name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from filters.caption import CaptionLength
from filters.corpus_rules import Clip, MaxPerCaption, Phash, Semantic
from filters.picture import PictureSettings
from filters.resize import Resize
from filters.table import RuleSettings, SignalSettings, with_installed
from filters.text_area import TextSettings
from model.config import PRESETS
from pipelines.datasets import table as datasets
from pipelines.fetch.settings import NOT_DATA as NOT_FETCHED
from pipelines.fetch.settings import FetchSettings
from pipelines.generators import RenderSettings
from pipelines.generators import table as generators
from pipelines.phases.table import PHASES
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.table import KINDS, Kind
from schemas.clip import EMBEDDED, ClipSettings
from schemas.errors import RecipeError, nearest
from schemas.ground import ChatSettings, GroundSettings
from schemas.mixture import MOST, Portion, pattern, portion, require_sound
from schemas.plugins import Plugin
from schemas.sample import TASKS
from schemas.settings import Settings

Keep = Literal["one_per_language", "longest", "all"]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _name(value: str) -> str:
    """A name that is safe as one part of a path on every store."""
    safe = value.replace("-", "").replace("_", "").isalnum() and value.isascii()
    if not safe or len(value) > 100:
        raise ValueError("use letters, digits, - and _ only, at most 100 of them")
    return value


def _task(value: str) -> str:
    if value not in TASKS:
        raise ValueError(f"there is no such task; {nearest(value, TASKS)}tasks are {', '.join(TASKS)}")
    return value


def _group(value: str) -> str:
    if value in TASKS:
        raise ValueError(f"{value} is a task, whose folder holds views of that task alone: name another")
    return value


Name = Annotated[str, AfterValidator(_name)]
Task = Annotated[str, AfterValidator(_task), WithJsonSchema({"type": "string", "enum": list(TASKS)})]
Pattern = Annotated[str, AfterValidator(pattern)]
PortionOf = Annotated[
    Portion,
    BeforeValidator(portion),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MOST["weight"]},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        name: {"type": "number", "minimum": 0, "maximum": most} for name, most in MOST.items()
                    },
                },
            ]
        }
    ),
]
# an editor offers ours; an installed package may give others
Format = Annotated[
    str,
    WithJsonSchema(
        {"anyOf": [{"enum": [*datasets.DATASETS, *generators.TABLE]}, {"type": "string"}], "type": "string"}
    ),
]
# an empty one would be the folder that vlcorpus happens to run in
Path = Annotated[str, Field(min_length=1)]


def _kind(value: str) -> str:
    """The name of a kind of source."""
    if value not in KINDS:
        raise ValueError(f"there is no such kind; {nearest(value, KINDS)}allowed are {', '.join(KINDS)}")
    return value


def _preset(value: str) -> str:
    if value not in PRESETS:
        raise ValueError(
            f"there is no such preset; {nearest(value, PRESETS)}presets are {', '.join(PRESETS)}"
        )
    return value


def _dataset(name: str) -> str:
    """The name of an annotation dataset."""
    if name in generators.TABLE:
        raise ValueError(f"format {name} is not for kind: annotations")
    try:
        datasets.find(name)
    except RecipeError as error:
        raise ValueError(str(error)) from None
    return name


class AnnotationSet(Settings):
    """One set of annotations over the images of a source: files of one dataset."""

    format: Annotated[Format, AfterValidator(_dataset)]
    path: tuple[Path, ...] = Field((), description="the file, or the folder, where the dataset has one")
    files: dict[str, str] = Field({}, description="files by part, where a dataset has several")
    licence: str | None = Field(None, description="of this set's rows; default: the source's")

    @model_validator(mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            return {**value, "path": (value["path"],)}
        return value

    @model_validator(mode="after")
    def _complete(self) -> "AnnotationSet":
        if not self.path and not self.files:
            raise ValueError("path is missing")
        return self


class Source(Settings):
    """One dataset. Its place in the list is its rank: of equal pictures the first source's is kept."""

    id: Name
    path: tuple[Path, ...] = Field((), description="files, folders or globs: local, s3://, gs://, hf://")
    kind: Annotated[str, AfterValidator(_kind), Field(json_schema_extra={"enum": [*KINDS]})] = "auto"
    format: Format | None = Field(
        None, description="kind annotations: the dataset whose files these are; kind rendered: the generator"
    )
    files: dict[str, str] = Field(
        {}, description="kind annotations: files by part, where a data set has several"
    )
    images: str | None = Field(None, description="kind annotations: the folder of images; default: path")
    match: Literal["path", "basename"] = Field(
        "path",
        description="kind annotations: images lie where their names say below `images`; basename: or anywhere "
        "below it where only one file has the name's last part",
    )
    boxes_on: Literal["upright", "stored"] = Field(
        "upright",
        description="kind annotations: boxes are drawn on images as EXIF turns them, or as their files store them, "
        "where the sizes in the annotations do not tell",
    )
    max_missing: Fraction = Field(
        0.5,
        description="kind annotations: the largest share of an interleaved document's images that may be missing or "
        "unreadable; the document keeps the others",
    )
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = Field(
        None,
        description="kind annotations: the language of all its texts; default: what the texts' signal says",
    )
    annotations: tuple[AnnotationSet, ...] = Field(
        (),
        description="kind annotations: several sets over the one folder `images`, instead of format and files",
    )
    group: Annotated[Name, AfterValidator(_group)] = Field(
        "views", description="folder of shards for samples that can have views of several tasks"
    )
    render: generators.Render = Field(None, validate_default=True, description="kind rendered: how")
    fetch: FetchSettings = Field(
        FetchSettings(), description="kind urls: how images are downloaded (docs/fetch.md)"
    )
    ground: GroundSettings | None = Field(
        None, description="pairs: find what captions name (docs/grounding.md)"
    )
    chat: ChatSettings | None = Field(None, description="dialogues made of samples; default: the recipe's")
    columns: Columns = Columns()
    origin: str = Field("", description="public text on where the data comes from; goes into the card")
    licence: str = "unknown"
    role: Literal["train", "eval"] = "train"
    captions: Literal["required", "none"] = Field("required", description="none: rows need no caption")
    several: Literal["drop", "interleaved"] = Field(
        "drop",
        description="pairs: a record of several images is one sample of them all, or dropped with a reason",
    )
    languages: tuple[str, ...] | None = None
    clip_score: str | None = Field(
        None, description="an `extra` field that serves as the CLIP score, such as LAION's similarity"
    )
    rules: SerializeAsAny[RuleSettings] = Field(
        RuleSettings(), description="what differs from the recipe's rules"
    )
    max_quarantine: Fraction | None = None
    max_unused: Fraction | None = None
    storage_options: dict[str, Any] = Field({}, repr=False, description="for fsspec; never written anywhere")

    @field_validator("format")
    @classmethod
    def _known(cls, name: str | None, info: ValidationInfo) -> str | None:
        kind = KINDS.get(info.data.get("kind", ""))
        if name is None or kind is None or not kind.drafts:
            return name
        if name in (datasets.DATASETS if kind.made else generators.TABLE):
            raise ValueError(f"format {name} is not for kind: {kind.name}")
        try:
            generators.lookup(name) if kind.made else datasets.find(name)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        return name

    @field_validator("render", mode="before")
    @classmethod
    def _rendered(cls, value: Any, info: ValidationInfo) -> RenderSettings | None:
        kind = KINDS.get(info.data.get("kind", ""))
        if kind is not None and kind.made:
            form = info.data.get("format")  # one that is wrong, or missing, is told of itself
            return generators.settings_of(form, value) if form else None
        if value is not None:
            raise ValueError("goes with kind: rendered")
        return None

    @model_validator(mode="after")
    def _complete(self) -> "Source":
        kind = KINDS[self.kind]
        if self.annotations:
            self._check_sets(kind)
            return self
        if kind.drafts != (self.format is not None):
            raise ValueError(
                "format: goes with kind: annotations (coco_captions, …) or rendered (ocr, scenes, …)"
            )
        needs_path = not kind.made or generators.lookup(str(self.format))[0].suffixes
        if not self.path and not self.files and needs_path:
            raise ValueError("path is missing")
        if not kind.annotated and (self.files or self.images):
            raise ValueError("files and images are for kind: annotations")
        for name in ("match", "boxes_on", "max_missing", "language"):
            if name in self.model_fields_set and not kind.annotated:
                raise ValueError(f"{name} is for kind: annotations, not for kind: {self.kind}")
        if "fetch" in self.model_fields_set and not kind.fetched:
            raise ValueError("fetch is for kind: urls")
        if self.ground is not None and not kind.pairs:
            raise ValueError(f"ground is for pairs of image and caption, not for kind: {self.kind}")
        if self.keeps_several and not kind.pairs:
            raise ValueError(f"several is for pairs of image and caption, not for kind: {self.kind}")
        return self

    def _check_sets(self, kind: Kind) -> None:
        if not kind.annotated:
            raise ValueError("annotations is for kind: annotations")
        if self.format is not None or self.files or self.path:
            raise ValueError("format, path and files stand in each of the annotations, not beside them")
        if self.images is None:
            raise ValueError("annotations need images: the folder of the images that all of them are about")

    @property
    def sets(self) -> tuple[AnnotationSet, ...]:
        """The sets of annotations, one where the source names a format."""
        if self.annotations or not KINDS[self.kind].annotated:
            return self.annotations
        one = {"format": self.format, "path": self.path, "files": self.files}
        return (AnnotationSet.model_validate(one),)

    @property
    def formats(self) -> tuple[str, ...]:
        """The datasets of a source of annotations, or the generator of a rendered one."""
        return (self.format,) if self.format is not None else tuple(one.format for one in self.annotations)

    @property
    def keeps_several(self) -> bool:
        """Whether a record of several images is a sample of them all."""
        return self.several == "interleaved"

    @property
    def needs_captions(self) -> bool:
        """Whether a row without a caption is dropped; samples of annotations and pages bring their own texts."""
        return self.captions == "required" and not KINDS[self.kind].drafts

    @model_validator(mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            return {**value, "path": (value["path"],)}
        return value


class Splits(Settings):
    """Shares of the clusters that go to other splits than train; eval sources go to eval whole."""

    val: Fraction = 0.0


class Shards(Settings):
    """The shape of the output."""

    format: Literal["auto", "webdataset", "parquet"] = Field(
        "auto", description="auto: tars, and Parquet for groups whose samples may have several images"
    )
    samples: int = Field(
        1000,
        gt=0,
        le=100_000,
        description="samples a shard, on average; at least a quarter, at most four times",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_group(cls, value: Any) -> Any:
        if isinstance(value, dict) and "group" in value:
            raise ValueError(
                "there is no key group any more: shards end where the keys of their samples say so, not with groups "
                "of input shards; remove it"
            )
        return value


_WITH_WORKERS = [phase.name for phase in PHASES if phase.worker]


def _phase(value: str) -> str:
    if value not in _WITH_WORKERS:
        raise ValueError(
            f"no phase of that name has workers; {nearest(value, _WITH_WORKERS)}there are {', '.join(_WITH_WORKERS)}"
        )
    return value


PhaseName = Annotated[str, AfterValidator(_phase), WithJsonSchema({"type": "string", "enum": _WITH_WORKERS})]


_WEEK = 7 * 24 * 3600


class PhaseResources(Settings):
    """What one worker of a phase takes from a cluster."""

    cpus: float = Field(1.0, gt=0, le=10_000)
    gpus: float = Field(0.0, ge=0, le=10_000)
    memory_gb: float = Field(0.0, ge=0, le=1_000_000, description="0: not asked for")


class Resources(Settings):
    """What work may use; none of it changes the data but through `deadline` and `out_of_memory` verdicts."""

    row_cpu_seconds: float = Field(60, gt=0, le=_WEEK, description="a row that takes more is quarantined")
    row_wall_seconds: float = Field(600, gt=0, le=_WEEK)
    memory_gb: float = Field(8, gt=0, le=1_000_000, description="private memory of one worker process")
    phases: dict[PhaseName, PhaseResources] = Field(
        default={}, description="what one worker of a phase takes from a cluster"
    )


class Recipe(Settings):
    """A whole recipe."""

    name: Name = "corpus"
    seed: int = Field(0, ge=0, le=2**63 - 1)
    languages: tuple[str, ...] = Field((), description="ISO 639-1 codes that are kept; empty: all")
    sources: tuple[Source, ...] = Field(min_length=1)
    signals: SerializeAsAny[SignalSettings] = SignalSettings()
    read: ReadLimits = ReadLimits()
    rules: SerializeAsAny[RuleSettings] = RuleSettings()
    clip: ClipSettings | None = Field(None, description="the scorers; needed where the clip rule is on")
    captions: Keep = Field("one_per_language", description="which captions of one picture are kept")
    sample: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="share of the keys that take part")
    splits: Splits = Splits()
    tasks: tuple[Task, ...] = Field(tuple(TASKS), description="samples of other tasks are left out")
    chat: ChatSettings = Field(ChatSettings(), description="dialogues made of other samples")
    mixture: dict[Pattern, PortionOf] = Field(
        {},
        description="how often an epoch of training draws the views of TASK/SOURCE: a number is a weight; or weight or "
        "epochs, and max_samples (docs/output.md); default: every view once",
    )
    tokenizer: Path | None = Field(
        None,
        description="a folder with a tokenizer, or Qwen's tiktoken file: tokens are counted by it; default: characters",
    )
    preset: Annotated[
        str, AfterValidator(_preset), WithJsonSchema({"type": "string", "enum": list(PRESETS)})
    ] = Field("qwen-vl-7b", description="the model preset whose queries are an image's tokens")
    resize: Resize | None = None
    shards: Shards = Shards()
    max_quarantine: Fraction = 0.05
    max_unused: Fraction = Field(
        0.01, description="largest share of the images in a source's tars that no row uses; ten may always be"
    )
    max_bad_shards: int = Field(0, ge=0, le=10**9)
    resources: Resources = Resources()
    removed: Path | None = Field(
        None, description="a list of rows that are removed, by their key, id, url, host or sha256"
    )
    removed_only_listed: bool = Field(False, description="true: rows with an image like a removed one's stay")
    out: Path = Field(
        "corpus", description="folder of the corpus, local or s3://; relative to where vlcorpus runs"
    )
    storage_options: dict[str, Any] = Field(
        default={}, repr=False, description="for `out`; never written anywhere"
    )

    @field_validator("mixture")
    @classmethod
    def _sound(cls, value: dict[str, Portion]) -> dict[str, Portion]:
        require_sound(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _with_installed(cls, value: Any) -> Any:
        return with_installed(value) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        ids = [source.id for source in self.sources]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise ValueError(f"two sources have the id {twice[0]!r}; ids must differ")
        for source in self.sources:
            for block, name, what in _WHOLE:
                own, whole = source.rules.get(block), self.rules.get(block)
                named = own and name in source.rules.model_fields_set
                if own and named and (not whole or (own.model_fields_set and own != whole)):
                    raise ValueError(
                        f"source {source.id!r} has {what} of its own, but duplicates are found over all sources: "
                        f"set rules.{name} for the recipe, or switch it off for the source"
                    )
        if self.clip is not None and self.clip.mask_text and self.signals.get(TextSettings) is None:
            raise ValueError("clip.mask_text needs to know how text is found: add signals: {text: on}")
        for source in self.sources:
            rules = self.rules_of(source)
            if rules.get(Clip) and self.clip is None and source.clip_score is None:
                raise ValueError(
                    f"the clip rule of source {source.id!r} has nothing to go by: add a `clip` block with a scorer, "
                    "or name the source's own score (clip_score: similarity)"
                )
            embedded = self.is_scored(source) and self.clip is not None and self.clip.embeddings
            if rules.get(Semantic) and (not embedded or source.clip_score is not None):
                raise ValueError(
                    f"the semantic rule of source {source.id!r} has nothing to go by: add a `clip` block with "
                    "embeddings: true and a scorer, or switch the rule off for the source"
                )
            running = [one for one, _ in self.signals.running()]
            for one in self.signals.filters:
                for rule in one.rules if one not in running else ():
                    if getattr(rules, rule.name):
                        raise ValueError(
                            f"the {rule.name} rule of source {source.id!r} has nothing to go by: "
                            f"add signals: {{{one.name}: on}}"
                        )
            length = rules.get(CaptionLength)
            if length and length.min_chars > length.max_chars:
                raise ValueError(
                    f"caption_length of source {source.id!r} keeps nothing: min_chars {length.min_chars} is above "
                    f"max_chars {length.max_chars}"
                )
        return self

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON that `model_validate` reads back: only what was given, so that defaults of a
        source still give way to the recipe's rules."""
        return self.model_dump(mode="json", exclude_unset=True)

    def source(self, source_id: str) -> Source:
        """The source of that id."""
        return next(source for source in self.sources if source.id == source_id)

    def rules_of(self, source: Source) -> RuleSettings:
        """Returns the rules that apply to a source: the recipe's, with the source's own on top, key by key.

        A rule that does not apply to sources of its kind (pipelines/sources/table.py) is off.
        """
        own = source.rules.model_dump(exclude_unset=True)
        merged = _merge(self.rules.model_dump(exclude_unset=True), own)
        if "clip" in own:
            # whole: a language's threshold of the recipe must not stand above the source's
            merged["clip"] = own["clip"]
        if self.signals[PictureSettings].orientation == "drop" and "orientation" not in own:
            merged["orientation"] = True
        kind = KINDS[source.kind]
        table = type(self.rules).table
        off = {rule.name for rule in table} - kind.applying(table, own) - _ALWAYS
        if not kind.pairs and source.clip_score is None:
            off.add("clip")
        return type(self.rules).model_validate(merged | dict.fromkeys(off, False))

    def is_scored(self, source: Source) -> bool:
        """Whether the source's pairs get a CLIP score."""
        return source.clip_score is not None or (self.clip is not None and KINDS[source.kind].pairs)

    @property
    def embedded_scorers(self) -> tuple[str, ...]:
        """The languages whose pairs get their CLIP scores from the embedded scorer."""
        if self.clip is None or all(source.clip_score is not None for source in self.sources):
            return ()
        return tuple(code for code, scorer in self.clip.scorers.items() if scorer.model == EMBEDDED)

    def languages_of(self, source: Source) -> tuple[str, ...]:
        """The languages kept from a source."""
        return self.languages if source.languages is None else source.languages

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """What installed packages give to this recipe: filters, datasets and generators."""
        finders = {True: generators.lookup, False: datasets.find}
        found = (
            finders[KINDS[source.kind].made](name)[1] for source in self.sources for name in source.formats
        )
        others = {plugin for plugin in found if plugin is not None}
        return tuple(sorted({*self.signals.found.values(), *others}))

    @property
    def evaluation(self) -> dict[str, bool]:
        """The sources that may hold evaluation rows; False where the dataset's own splits say which."""
        return {
            source.id: source.role == "eval"
            for source in self.sources
            if source.role == "eval" or KINDS[source.kind].annotated
        }

    @property
    def eval_distance(self) -> int:
        """How near a training image may not come to an evaluation image, whichever duplicate rules are on."""
        return (self.rules.get(Phash) or Phash()).distance

    def chat_of(self, source: Source) -> ChatSettings:
        """Which dialogues are made of a source's samples."""
        return self.chat if source.chat is None else source.chat

    def max_quarantine_of(self, source: Source) -> float:
        """The largest share of a source's rows that may be quarantined."""
        return self.max_quarantine if source.max_quarantine is None else source.max_quarantine

    def max_unused_of(self, source: Source) -> float:
        """The largest share of the images in a source's tars that no row may use."""
        return self.max_unused if source.max_unused is None else source.max_unused

    def digest(self, removed: str | None = None) -> str:
        """Returns the SHA-256 of `determining`."""
        return hashlib.sha256(self.determining(removed)).hexdigest()

    def determining(self, removed: str | None = None) -> bytes:
        """Returns all that determines the data, as JSON: not paths, credentials, resources or stops.

        `removed` is the digest of the list of removed rows, where the corpus has one.
        """
        record = self.model_dump(mode="json", exclude={**_NOT_DATA, "signals": self.signals.places})
        for source, plain in zip(self.sources, record["sources"], strict=True):
            if not KINDS[source.kind].fetched:
                del plain["fetch"]
            if source.render is not None:
                plain["render"] = source.render.model_dump(mode="json", exclude={*source.render.places})
        if self.plugins:
            record["plugins"] = [asdict(one) for one in self.plugins]
        if removed is not None:
            record["removed"] = removed
        return json.dumps(record, sort_keys=True, ensure_ascii=False).encode()


_WHOLE: Final = (
    (Phash, "phash", "a phash distance"),
    (Semantic, "semantic", "a similarity of embeddings"),
    (MaxPerCaption, "max_per_caption", "a cap on captions"),
)
"""Rules with one setting for all sources, which a source may switch off; and what such a setting is called."""

_ALWAYS = {rule.name for rule in RuleSettings.table if rule.always}

_NOT_DATA: Any = {
    "resources": True,
    "out": True,
    # the list goes in by what it holds
    "removed": True,
    "removed_only_listed": True,
    # named in the manifest by what its files are
    "tokenizer": True,
    "storage_options": True,
    "max_quarantine": True,
    "max_unused": True,
    "max_bad_shards": True,
    "sources": {
        "__all__": {
            "path": True,
            "files": True,
            "images": True,
            "annotations": {"__all__": {"path", "files"}},
            "storage_options": True,
            "max_quarantine": True,
            "max_unused": True,
            "fetch": {*NOT_FETCHED},
            # named in the manifest by what its weights are, wherever they lie
            "ground": {"detector": {"model"}, "pipelines": True},
        }
    },
    # the manifest names every scorer by what its weights are
    "clip": {
        "allow_embedded": True,
        "decode_threads": True,
        "scorers": {"__all__": {"model", "pretrained", "threads"}},
    },
}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
