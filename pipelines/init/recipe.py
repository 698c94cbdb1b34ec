"""A commented recipe as text. What comes from the data is quoted, so that it can be nothing but itself."""

import reprlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import yaml
from rich.filesize import decimal

from filters.table import RuleSettings
from pipelines.files import is_local
from pipelines.init.columns import Guess, image_format, languages, text_of, values_of
from pipelines.init.survey import Survey, is_packed
from pipelines.recipe.model import Recipe
from pipelines.sources.columns import GUESSES, Part
from pipelines.sources.parquet_columns import EMBED
from schemas.plain import public

_WIDTH: Final = 60
_NAME: Final = 30
_MANY: Final = 5
_SCORES: Final = ("similarity", "clip")

_HEAD: Final = """\
# A recipe for `vlcorpus build`, made by `vlcorpus init` from what it found. All keys: docs/recipe.md.
#
# For you to decide:
# - languages: which captions are kept
# - of each source: whether the columns are the right ones; its licence and origin, which stand in the card;
#   role: eval if it is an evaluation set; its rank (of equal images the first source's is kept)
# - rules: the thresholds; `vlcorpus select RECIPE --dry-run` says what another one would keep
#
# Local paths are relative to the folder where vlcorpus runs.
"""


def recipe(found: Sequence[Survey]) -> str:
    """Returns the recipe over these sources, with what was found as comments."""
    lines = ["name: corpus", "out: corpus  # folder of the corpus, local or s3://", "", *_languages(found)]
    lines += ["", "sources:"]
    for one in found:
        lines += _source(one)
    return _HEAD + "\n".join([*lines, "", *_rest()]) + "\n"


def scalar(value: object) -> str:
    """Returns a value as YAML that is read back as the same value, on one line wherever it stands."""
    plain = "".join(value).isprintable() if isinstance(value, list) else str(value).isprintable()
    text: str = yaml.safe_dump(
        [value],
        default_flow_style=True,
        default_style=None if plain else '"',
        allow_unicode=plain,
        width=2**31,
    )
    return text.strip()[1:-1]


def shown(text: str, width: int = _WIDTH) -> str:
    """Returns text fit for a comment: one line, cut short, characters that do not print written out."""
    cut = text[: width + 1]
    plain = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut)
    return plain if len(plain) <= width else f"{plain[:width]}…"


def example(values: Sequence[object]) -> str:
    """Returns the first value of a column as a comment shows it; addresses without what may hold a key."""
    if not values:
        return "(empty in these rows)"
    value = values[0]
    if form := image_format(value):
        return f"(a {form} image)"
    text = text_of(value)
    if text is not None:
        return f'"{shown(public(text[: 4 * _WIDTH]))}"'
    if isinstance(value, bytes):
        return "(bytes)"
    return shown(public(reprlib.repr(value)) if not isinstance(value, pa.DataType) else f"({value})")


def _languages(found: Sequence[Survey]) -> Iterator[str]:
    yield "# ISO 639-1 codes that are kept; [] keeps all."
    captions = [caption for one in found for caption in one.captions()]
    if captions and (counts := languages(captions)):
        seen = ", ".join(f"{language} {count}" for language, count in counts.most_common())
        codes = scalar([language for language, _ in counts.most_common()])
        yield f"# Of {len(captions)} captions: {seen}. To keep these only: languages: {codes}"
    yield "languages: []"


def _source(one: Survey) -> Iterator[str]:
    yield from (f"  # {line}" for line in _found(one))
    yield f"  - id: {scalar(one.id)}"
    yield from _paths(one.paths)
    if not all(is_local(path) for path in one.paths):
        yield "    # storage_options: {}  # credentials that the environment does not have; never written here"
    yield f"    kind: {one.kind.name}"
    if one.annotations is not None:
        yield f"    format: {one.annotations}"
        yield f"    images: {scalar(one.images)}  # the folder that the file's names of images are below"
    yield from _columns(one)
    if not one.kind.images and one.shards[0].format == "parquet":
        yield "    # no column holds images, so the text alone is read; where a column has their URLs, write"
        yield "    # kind: urls, and a build downloads them (docs/fetch.md), as vlcorpus fetch does by itself"
    if one.kind.pairs and "caption" not in one.guesses:
        yield "    # no caption was found in these rows, and without any a build stops. You decide: name the column of"
        yield "    # captions (columns: {caption: …}), or remove the # below, so that images are read without captions"
        yield "    # captions: none"
    yield "    licence: unknown"
    yield '    origin: ""'


def _paths(paths: Sequence[str]) -> Iterator[str]:
    if len(paths) == 1:
        yield f"    path: {scalar(paths[0])}"
        return
    yield "    path:"
    yield from (f"      - {scalar(path)}" for path in paths)


def _found(one: Survey) -> Iterator[str]:
    """What was found at a source's paths: shards, files that are none, columns with an example."""
    if one.shards:
        size = sum(shard.size for shard in one.shards)
        yield f"shards: {len(one.shards):,} ({one.shards[0].format}), {decimal(size)}"
    if one.ignored:
        names = ", ".join(shown(name, _NAME) for name in one.ignored[:_MANY])
        more = ", …" if len(one.ignored) > _MANY else ""
        yield f"files that are not read: {len(one.ignored):,} ({names}{more})"
    if one.looked_at is None:
        return
    yield f"looked at: rows 1 to {len(one.rows)} of {shown(one.looked_at.path, 2 * _WIDTH)}"
    named = {name or "(a line)": values for name, values in values_of(one.rows).items()}
    width = min(max((len(shown(name, _NAME)) for name in named), default=0), _NAME)
    for name, values in named.items():
        yield f"  {shown(name, _NAME):<{width}}  {example(values)}"


def _columns(one: Survey) -> Iterator[str]:
    """The columns that a build does not find by itself, and as comments those that it does."""
    yield from (f"    # {line}" for line in _notes(one))
    parts: tuple[Part, ...] = ("image", "caption", "url", "extra")
    guesses = {part: one.guesses[part] for part in parts if part in one.guesses}
    if one.several:
        guesses.pop("image", None)
    written = [part for part, chosen in guesses.items() if not chosen.by_default and part not in one.lacking]
    if guesses:
        yield "    columns:" if written else "    # columns:"
    for part, chosen in guesses.items():
        line = f"  {part}: {scalar(_names(one, part, chosen))}  # {shown(chosen.why, 2 * _WIDTH)}"
        mark = "" if part in written else "# "
        yield f"    {mark}{line}" + ("; a build finds it without this line" if chosen.by_default else "")
    yield from _score(one.guesses.get("extra"))


def _names(one: Survey, part: Part, chosen: Guess) -> list[str]:
    """The columns guessed, and those with usual names in a file that has none of them."""
    _, there = one.lacking.get(part, ("", ()))
    return [*chosen.names, *(name for name in GUESSES[part] if name in there)]


def _notes(one: Survey) -> Iterator[str]:
    """What a person should know about the columns before building."""
    looked_at = one.looked_at if one.kind.pairs and "image" not in one.guesses else None
    if looked_at and looked_at.format != "files":
        if one.column_of_paths is not None:
            yield f"column {scalar(one.column_of_paths)} has the paths of images; their bytes are not embedded."
            yield f"To read the images, {EMBED};"
            yield "to read the captions alone, write kind: text"
        else:
            yield "none of the columns above holds images: name the one that does as `image` in `columns`"
    if one.several:
        listed = ", ".join(shown(name, _NAME) for name in one.several[:_MANY])
        yield f"records hold several images ({listed}): an image is taken only if it alone"
        yield "has a suffix without a dot and none is numbered, else its record is quarantined."
        yield f"To choose, for instance: columns: {{image: {scalar([one.several[0]])}}}"
        yield "To keep all images of a record as one sample: several: interleaved"
    for part, (path, names) in one.lacking.items():
        listed = ", ".join(shown(name, _NAME) for name in names[:_MANY]) + (
            ", …" if len(names) > _MANY else ""
        )
        usual = " or ".join(shown(name, _NAME) for name in one.guesses[part].names)
        yield f"files differ: {shown(path, 2 * _WIDTH)} has no {part} column {usual}; it has: {listed}."
        yield f"Name the columns of all files as `{part}` in `columns`, or make them several sources"
    for path, form in one.beside:
        yield f"{shown(path, 2 * _WIDTH)} seems to hold annotations, which a source of pairs does not read. For them"
        place = "path, unpacked (gunzip FILE)," if is_packed(path) else "path"
        yield f"write a source of kind: annotations, format: {form}, with that {place} and `images`, their folder"


def _score(extra: Guess | None) -> Iterator[str]:
    scores = [name for name in (extra.names if extra else ()) if any(part in name for part in _SCORES)]
    if scores:
        yield f"    # clip_score: {scalar(scores[0])}  # serves the clip rule instead of a scorer (docs/clip.md)"


def _rest() -> Iterator[str]:
    """The keys whose defaults a person may want to see, each as it would be written."""
    fields = Recipe.model_fields
    yield "# The defaults of what follows; remove the # in front of what you change."
    yield "# rules:  # in the order in which they give a row its reason; `off` switches one off"
    for name, settings in RuleSettings():
        yield f"#   {name}: {_flow(settings.model_dump(exclude_none=True) if settings else False)}"
    for name in ("captions", "sample", "max_quarantine", "max_bad_shards"):
        yield f"# {name}: {_flow(fields[name].default)}"
    yield f"# splits: {_flow(fields['splits'].default.model_dump())}"
    yield f"# shards: {_flow(fields['shards'].default.model_dump())}"


def _flow(value: Any) -> str:
    return "off" if value is False else scalar(value)
