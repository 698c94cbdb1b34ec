"""Generators: the formats of sources of kind `rendered`. `table.py` lists ours, and packages may bring others.

A generator is one value of `Generator`. It makes pages by number (`ocr`, `scenes`), or shows the pages of
documents (`pdf`, `html`). Phase render writes its pages into raw shards, which are read like any others.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from PIL import features
from pydantic import Field

from pipelines.files import Store, absolute
from schemas.errors import RowError
from schemas.sample import TASKS
from schemas.settings import Settings

if TYPE_CHECKING:
    from synth.regions import TextLine
    from synth.views import View

# an empty one would be the folder that vlcorpus happens to run in
Path = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def pillow(*names: str) -> dict[str, str]:
    """Returns the versions of libraries that Pillow is built with, by Pillow's names; `none` where it lacks one."""
    return {f"pillow {name}": str(features.version(name) or "none") for name in names}


def text_tasks(settings: Any) -> tuple[str, ...]:
    """Returns the tasks of pages of text: their lines, and with `whole_text` a question for all of it."""
    return ("ocr", "vqa") if settings.whole_text else ("ocr",)


class RenderSettings(Settings):
    """The block `render` of a source; every generator has a subclass with its own keys.

    The keys in `places` hold paths. A path never enters a digest: what lies there does (`Generator.marks`).
    """

    places: ClassVar[tuple[str, ...]] = ()

    def rooted(self) -> Self:
        """Returns the settings with local paths from the root."""
        update: dict[str, Any] = {}
        for name in self.places:
            value = getattr(self, name)
            if value:
                update[name] = absolute(value) if isinstance(value, str) else tuple(map(absolute, value))
        return self.model_copy(update=update)


class TextPageSettings(RenderSettings):
    """What generators of pages of text have in common: a question for the whole text, and reading back."""

    places: ClassVar[tuple[str, ...]] = ("models",)

    whole_text: bool = Field(False, description="also a question for all the text of a page")
    readback: Share = Field(0.0, description="share of the pages that an OCR reads back")
    reader: Literal["rapidocr", "paddleocr"] = Field("rapidocr", description="the OCR that reads them back")
    models: Path | None = Field(None, description="paddleocr: a folder with det/ and rec/; default: its own")
    max_error: Share = Field(
        0.15, description="pages read back with a larger character error rate are dropped"
    )


@dataclass(frozen=True)
class Job:
    """What a generator knows of a source; `settings` is its own block."""

    source: str
    seed: int
    languages: tuple[str, ...]
    settings: Any
    store: Store


@dataclass(frozen=True)
class Item:
    """What one call makes: the page of a number, in a language, or the pages of the document at `path`."""

    name: str
    number: int = 0
    language: str = ""
    path: str = ""


@dataclass(frozen=True)
class Page:
    """One row: a JPEG with its samples, or the reason why it has none.

    `refusal` holds the rules that the page fails, each with its figure in words. `lines` is what is written on
    the page, for those that are read back. `parameters` is what the page was drawn from, as JSON.
    """

    name: str
    image: bytes | None = None
    language: str = "und"
    views: Sequence["View"] = ()
    lines: Sequence["TextLine"] = ()
    refusal: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Any] | None = None
    error_rate: float | None = None
    error: RowError | None = None

    @property
    def text(self) -> str:
        """The lines, one below the other."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True)
class Maker:
    """What makes a source's pages in one process; `fonts` are those that pages in a language may be set in.

    A RowError that `pages` raises quarantines the page; anything else is a mistake in the generator, and ends the run.
    """

    pages: Callable[[Item], Iterable[Page]]
    fonts: Callable[[str], list[str]] = lambda language: []
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Generator:
    """One format of kind rendered.

    name: what a recipe calls it. settings: its block. open: called once a process and source.
    libraries: distributions whose versions its pages depend on. version: raised when its pages change.
    suffixes: those of its documents; a generator without any makes pages by number (key `count`).
    unit: the first part of a page's name; without one, `count` pages are made in each language.
    per_task: pages, or documents, of one raw shard.
    facts: what of the machine shows in its pages, such as a browser's version; the manifest names it.
    tasks: those that its views have with these settings; left out, they can have any.
    marks: for each item, what else its pages depend on: what lies at the paths of the settings, for one.
    """

    name: str
    settings: type[RenderSettings]
    open: Callable[[Job], Maker]
    libraries: tuple[str, ...] = ()
    version: int = 1
    suffixes: tuple[str, ...] = ()
    unit: str = ""
    per_task: int = 200
    facts: Callable[[Job], dict[str, str]] = lambda job: {}
    tasks: Callable[[Any], Iterable[str]] = lambda settings: TASKS
    marks: Callable[[Job, Sequence[Item]], Sequence[Any]] = lambda job, items: [None] * len(items)
