"""Generators `ocr` and `scene_text`: rendered pages of text, and images with words in them."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path as FilePath
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipelines.files import local_path
from pipelines.generators import Generator, Item, Job, Maker, Page, Path, TextPageSettings, pillow, text_tasks
from pipelines.generators.inputs import identities, pictures, texts


class SceneTextSettings(TextPageSettings):
    """How images with words in them are made."""

    places: ClassVar[tuple[str, ...]] = ("fonts", "texts", "pictures", "models")

    count: int = Field(gt=0, description="pages a language")
    direction: Literal["auto", "ltr", "rtl", "vertical"] = "auto"
    level: Literal["line", "word", "character"] = Field("line", description="what has a quad of its own")
    fonts: Path | None = Field(None, description="a folder of fonts; default: those of the system")
    texts: tuple[Path, ...] = Field(
        (), description="text files or shards with captions; default: the project's own words"
    )
    pictures: tuple[Path, ...] = Field(
        (), description="images or shards to lie behind the text; default: drawn, photographs"
    )


class OcrSettings(SceneTextSettings):
    """How pages of text are made."""

    setting: Literal["default", "mild"] = Field(
        "default", description="SynthDoG's parameters, or milder ones"
    )


def page_maker(job: Job, language: str) -> Any:
    """Returns the maker of a source's pages in one language: `page(index)` makes one, `faces` are its fonts."""
    from synth.page import fonts
    from synth.page.maker import PageMaker, PageSettings
    from synth.scene_text import SceneMaker
    from synth.seeds import generator

    settings: SceneTextSettings = job.settings
    page = PageSettings(
        # of its own for each source: pages of one that is held out must not be those of one that is trained on
        seed=generator(job.seed, f"pages {job.source}").getrandbits(32),
        language=language,
        setting=settings.setting if isinstance(settings, OcrSettings) else "scene",
        direction=settings.direction,
        characters=settings.level == "character",
    )
    found = fonts.find(FilePath(local_path(settings.fonts)) if settings.fonts else None)
    maker = PageMaker if isinstance(settings, OcrSettings) else SceneMaker
    return maker(
        page, texts(job.store, settings.texts, language), pictures(job.store, settings.pictures), found
    )


def _open(job: Job) -> Maker:
    from synth.regions import text_views

    maker = cache(lambda language: page_maker(job, language))

    def pages(item: Item) -> Iterator[Page]:
        made = maker(item.language).page(item.number)
        views = text_views(made.lines, item.language, job.settings.level, whole=job.settings.whole_text)
        yield Page(item.name, made.image, item.language, views, made.lines, parameters=made.parameters)

    def fonts(language: str) -> list[str]:
        identities = {face.identity for face in maker(language).faces}
        return sorted({f"{one.name} {one.version} ({one.digest[:16]})" for one in identities})

    return Maker(pages, fonts)


def _marks(job: Job, items: Sequence[Item]) -> list[Any]:
    return [identities(job.store, (*job.settings.texts, *job.settings.pictures))] * len(items)


def _generator(name: str, settings: type[SceneTextSettings]) -> Generator:
    return Generator(
        name=name,
        settings=settings,
        open=_open,
        libraries=("numpy", "opencv-python-headless", "pillow", "scikit-image"),
        tasks=text_tasks,
        # without raqm Pillow sets Latin and Han without kerning
        facts=lambda job: pillow("freetype2", "harfbuzz", "libjpeg_turbo", "raqm"),
        marks=_marks,
    )


OCR = _generator("ocr", OcrSettings)
SCENE_TEXT = _generator("scene_text", SceneTextSettings)
