"""The recipe: one YAML file that says what goes in, what is kept, and what comes out.

Everything is checked before any work begins; `load` turns what is wrong into one sentence with the
file, the line and the nearest valid name.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from filters.resize import Resize
from pipelines.sources.columns import Columns, ReadLimits
from schemas.clip import EMBEDDED, ClipSettings
from schemas.ground import ChatSettings, GroundSettings
from schemas.rules import Phash, RuleSettings, applying, is_pairs
from schemas.settings import Settings
from schemas.signals import SignalSettings

Task = Literal[
    "caption",
    "grounding",
    "referring",
    "grounded_caption",
    "vqa",
    "ocr",
    "chat",
    "text",
    "interleaved",
]
Format = Literal[
    "ai2d",
    "chartqa",
    "coco_captions",
    "coco_instances",
    "conversations",
    "conversations_lines",
    "docvqa",
    "dvqa",
    "flickr30k",
    "gqa",
    "grit",
    "grit_greedy",
    "grounding",
    "mmc4",
    "html",
    "obelics",
    "ocr",
    "ocrvqa",
    "pages",
    "pdf",
    "refcoco",
    "scene_text",
    "scenes",
    "textvqa",
    "vgqa",
    "visual_genome",
    "vqav2",
]
RENDERED = ("html", "ocr", "pdf", "scene_text", "scenes")
MADE = ("ocr", "scene_text", "scenes")
"""Formats of kind rendered; of these, those that are made from nothing."""

Keep = Literal["one_per_language", "longest", "all"]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _name(value: str) -> str:
    """A name that is safe as one part of a path on every store."""
    safe = value.replace("-", "").replace("_", "").isalnum() and value.isascii()
    if not safe or len(value) > 100:
        raise ValueError("use letters, digits, - and _ only, at most 100 of them")
    return value


Name = Annotated[str, AfterValidator(_name)]
# an empty one would be the folder that vlcorpus happens to run in
Path = Annotated[str, Field(min_length=1)]


Shape = Literal[
    "circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond", "crescent", "hexagon"
]
Colour = Literal[
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey"
]
Size = Literal["small", "medium", "large"]


class RenderSettings(Settings):
    """How pages are made or rendered, for sources of kind `rendered`."""

    count: int = Field(0, ge=0, description="ocr, scene_text: pages a language; scenes: pictures")
    setting: Literal["default", "mild"] = Field(
        "default", description="ocr: SynthDoG's parameters, or milder ones"
    )
    side: int = Field(160, ge=32, le=2048, description="scenes: pixels of the longer side")
    shapes: tuple[Shape, ...] = Field((), description="scenes: the shapes that are drawn; default: all ten")
    colours: tuple[Colour, ...] = Field((), description="scenes: their colours; default: all eleven")
    sizes: tuple[Size, ...] = Field((), description="scenes: their sizes; default: small, medium, large")
    objects: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        (), description="scenes: how many objects a picture may hold; default: 1, 2, 3, 4"
    )
    regions: int = Field(
        2,
        ge=1,
        le=4,
        description="scenes: of how many objects a picture's samples ask where they are, at most",
    )
    direction: Literal["auto", "ltr", "rtl", "vertical"] = "auto"
    fonts: Path | None = Field(
        None, description="ocr, scene_text: a folder of fonts; default: those of the system"
    )
    texts: tuple[Path, ...] = Field(
        (),
        description="ocr, scene_text: text files or shards with captions; default: the project's own words",
    )
    pictures: tuple[Path, ...] = Field(
        (),
        description="ocr, scene_text: pictures or shards to lie behind the text; default: drawn, photographs",
    )
    level: Literal["line", "word", "character"] = Field(
        "line", description="what has a quad of its own; characters: ocr and scene_text only"
    )
    whole_text: bool = Field(False, description="also a question for all the text of a page")
    readback: Fraction = Field(0.0, description="share of the pages that an OCR reads back")
    reader: Literal["rapidocr", "paddleocr"] = Field("rapidocr", description="the OCR that reads them back")
    models: Path | None = Field(None, description="paddleocr: a folder with det/ and rec/; default: its own")
    max_error: Fraction = Field(
        0.15, description="pages read back with a larger character error rate are dropped"
    )


class Source(Settings):
    """One data set. Its place in the list is its rank: of equal pictures the first source's is kept."""

    id: Name
    path: tuple[Path, ...] = Field((), description="files, folders or globs: local, s3://, gs://, hf://")
    kind: Literal["auto", "webdataset", "parquet", "folder", "text", "annotations", "rendered"] = "auto"
    format: Format | None = Field(None, description="kind annotations: the data set whose files these are")
    files: dict[str, str] = Field(
        {}, description="kind annotations: files by part, where a data set has several"
    )
    images: str | None = Field(None, description="kind annotations: the folder of pictures; default: path")
    render: RenderSettings = Field(RenderSettings(), description="kind rendered: how")
    ground: GroundSettings | None = Field(
        None, description="pairs: find what captions name (docs/grounding.md)"
    )
    chat: ChatSettings | None = Field(None, description="dialogues made of samples; default: the recipe's")
    columns: Columns = Columns()
    origin: str = Field("", description="public text on where the data comes from; goes into the card")
    licence: str = "unknown"
    role: Literal["train", "eval"] = "train"
    captions: Literal["required", "none"] = Field("required", description="none: rows need no caption")
    languages: tuple[str, ...] | None = None
    clip_score: str | None = Field(
        None, description="an `extra` field that serves as the CLIP score, such as LAION's similarity"
    )
    rules: RuleSettings = Field(RuleSettings(), description="what differs from the recipe's rules")
    max_quarantine: Fraction | None = None
    max_unused: Fraction | None = None
    storage_options: dict[str, Any] = Field({}, repr=False, description="for fsspec; never written anywhere")

    @model_validator(mode="after")
    def _complete(self) -> "Source":
        annotated, rendered = self.kind == "annotations", self.kind == "rendered"
        if (annotated or rendered) != (self.format is not None):
            raise ValueError(
                "format: goes with kind: annotations (coco_captions, …) or rendered (ocr, scenes, …)"
            )
        if self.format is not None and rendered != (self.format in RENDERED):
            raise ValueError(f"format {self.format} is not for kind: {self.kind}")
        if not self.path and not self.files and self.format not in MADE:
            raise ValueError("path is missing")
        if self.format in MADE and not self.render.count:
            raise ValueError("render.count is missing: how many to make")
        if self.render.level == "character" and self.format not in ("ocr", "scene_text"):
            raise ValueError("render.level: character is for format: ocr or scene_text; documents tell words")
        if not annotated and (self.files or self.images):
            raise ValueError("files and images are for kind: annotations")
        if self.ground is not None and self.kind in ("annotations", "rendered", "text"):
            raise ValueError(f"ground is for pairs of picture and caption, not for kind: {self.kind}")
        return self

    @property
    def needs_captions(self) -> bool:
        """Whether a row without a caption is dropped; samples of annotations and pages bring their own texts."""
        return self.captions == "required" and self.format is None

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
        "auto", description="auto: tars, and Parquet for tasks whose samples may have several images"
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


class PhaseResources(Settings):
    """What one worker of a phase takes from a cluster."""

    cpus: float = Field(1.0, gt=0)
    gpus: float = Field(0.0, ge=0)
    memory_gb: float = Field(0.0, ge=0, description="0: not asked for")


class Resources(Settings):
    """What work may use; none of it changes the data but through `deadline` and `out_of_memory` verdicts."""

    row_cpu_seconds: float = Field(60, gt=0, description="a row that takes more is quarantined")
    row_wall_seconds: float = Field(600, gt=0)
    memory_gb: float = Field(8, gt=0, description="private memory of one worker process")
    phases: dict[
        Literal["measure", "dedup", "score", "select", "ground", "compose", "shard"], PhaseResources
    ] = Field(default={}, description="what one worker of a phase takes from a cluster")


class Recipe(Settings):
    """A whole recipe."""

    name: Name = "corpus"
    seed: int = Field(0, ge=0)
    languages: tuple[str, ...] = Field((), description="ISO 639-1 codes that are kept; empty: all")
    sources: tuple[Source, ...] = Field(min_length=1)
    signals: SignalSettings = SignalSettings()
    read: ReadLimits = ReadLimits()
    rules: RuleSettings = RuleSettings()
    clip: ClipSettings | None = Field(None, description="the scorers; needed where the clip rule is on")
    captions: Keep = Field("one_per_language", description="which captions of one picture are kept")
    sample: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="share of the keys that take part")
    splits: Splits = Splits()
    tasks: tuple[Task, ...] = Field(get_args(Task), description="samples of other tasks are left out")
    chat: ChatSettings = Field(ChatSettings(), description="dialogues made of other samples")
    resize: Resize | None = None
    shards: Shards = Shards()
    max_quarantine: Fraction = 0.05
    max_unused: Fraction = Field(
        0.01, description="largest share of the images in a source's tars that no row uses; ten may always be"
    )
    max_bad_shards: int = Field(0, ge=0)
    resources: Resources = Resources()
    out: Path = Field(
        "corpus", description="folder of the corpus, local or s3://; relative to where vlcorpus runs"
    )
    storage_options: dict[str, Any] = Field(
        default={}, repr=False, description="for `out`; never written anywhere"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        ids = [source.id for source in self.sources]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise ValueError(f"two sources have the id {twice[0]!r}; ids must differ")
        for source in self.sources:
            own = source.rules.phash
            named = own and "phash" in source.rules.model_fields_set
            if own and named and (not self.rules.phash or (own.model_fields_set and own != self.rules.phash)):
                raise ValueError(
                    f"source {source.id!r} has a phash distance of its own, but duplicates are found over all sources: "
                    "set rules.phash for the recipe, or switch it off for the source"
                )
        if self.clip is not None and self.clip.mask_text and not self.signals.text:
            raise ValueError("clip.mask_text needs to know how text is found: add signals: {text: on}")
        for source in self.sources:
            if self.rules_of(source).clip and self.clip is None and source.clip_score is None:
                raise ValueError(
                    f"the clip rule of source {source.id!r} has nothing to go by: add a `clip` block with a scorer, "
                    "or name the source's own score (clip_score: similarity)"
                )
            if self.rules_of(source).text_area and not self.signals.text:
                raise ValueError(
                    f"the text_area rule of source {source.id!r} has nothing to go by: add signals: {{text: on}}"
                )
            length = self.rules_of(source).caption_length
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

        A rule that does not apply to sources of its kind (schemas/rules.py) is off.
        """
        own = source.rules.model_dump(exclude_unset=True)
        merged = _merge(self.rules.model_dump(exclude_unset=True), own)
        if "clip" in own:
            # whole: a language's threshold of the recipe must not stand above the source's
            merged["clip"] = own["clip"]
        if self.signals.picture.orientation == "drop" and "orientation" not in own:
            merged["orientation"] = True
        off = RuleSettings.model_fields.keys() - applying(source.kind, own) - _ALWAYS
        if source.kind == "text" and source.clip_score is None:
            off.add("clip")
        return RuleSettings.model_validate(merged | dict.fromkeys(off, False))

    def is_scored(self, source: Source) -> bool:
        """Whether the source's pairs get a CLIP score."""
        return source.clip_score is not None or (self.clip is not None and is_pairs(source.kind))

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
    def evaluation(self) -> dict[str, bool]:
        """The sources that may hold evaluation rows; False where the dataset's own splits say which."""
        return {
            source.id: source.role == "eval"
            for source in self.sources
            if source.role == "eval" or source.kind == "annotations"
        }

    @property
    def eval_distance(self) -> int:
        """How near a training image may not come to an evaluation image, whichever duplicate rules are on."""
        return (self.rules.phash or Phash()).distance

    def chat_of(self, source: Source) -> ChatSettings:
        """Which dialogues are made of a source's samples."""
        return self.chat if source.chat is None else source.chat

    def max_quarantine_of(self, source: Source) -> float:
        """The largest share of a source's rows that may be quarantined."""
        return self.max_quarantine if source.max_quarantine is None else source.max_quarantine

    def max_unused_of(self, source: Source) -> float:
        """The largest share of the images in a source's tars that no row may use."""
        return self.max_unused if source.max_unused is None else source.max_unused

    def digest(self) -> str:
        """SHA-256 over all that determines the data: not paths, credentials, resources or stops."""
        record = self.model_dump(mode="json", exclude=_NOT_DATA)
        return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


_ALWAYS = {"no_caption", "repeat"}

_NOT_DATA: Any = {
    "resources": True,
    "out": True,
    "storage_options": True,
    "max_quarantine": True,
    "max_unused": True,
    "max_bad_shards": True,
    "sources": {
        "__all__": {
            "path": True,
            "files": True,
            "images": True,
            "storage_options": True,
            "max_quarantine": True,
            "max_unused": True,
            # named in the manifest by what its weights are, wherever they lie
            "ground": {"detector": {"model"}, "pipelines": True},
            "render": {"fonts": True, "texts": True, "pictures": True, "models": True},
        }
    },
    # the manifest names every scorer by what its weights are
    "clip": {
        "allow_embedded": True,
        "decode_threads": True,
        "scorers": {"__all__": {"model", "pretrained", "threads"}},
    },
    "signals": {"language": {"model": True}, "text": {"models"}},
}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
