"""The makers of pages and of scenes with words: their text, fonts and backgrounds, from a recipe's paths."""

from pathlib import Path
from typing import Any

from pipelines.files import Store, local_path
from pipelines.page_files import files
from pipelines.page_pictures import pictures
from pipelines.page_texts import texts
from schemas.recipe import Recipe, Source


def page_maker(recipe: Recipe, source: Source, language: str) -> Any:
    """The maker of a source's pages in one language: `page(index)` makes one, `faces` are its fonts."""
    from synth.page import fonts
    from synth.page.maker import PageMaker, PageSettings
    from synth.scene_text import SceneMaker, SceneSettings
    from synth.seeds import generator

    # of its own for each source: pages of one that is held out must not be those of one that is trained on
    seed = generator(recipe.seed, f"pages {source.id}").getrandbits(32)
    render = source.render
    store = Store(source.storage_options or None, source.id)
    found = fonts.find(Path(local_path(render.fonts)) if render.fonts else None)
    given = texts(store, render.texts, language), pictures(store, render.pictures), found
    characters = render.level == "character"
    if source.format == "scene_text":
        return SceneMaker(SceneSettings(seed, language, render.direction, characters), *given)
    settings = PageSettings(seed, language, render.setting, render.direction, characters)
    return PageMaker(settings, *given)


def marks(source: Source) -> list[list[str]]:
    """What changes when a text or a background does: in their order, what kind each is and what it holds."""
    store = Store(source.storage_options or None, source.id)
    return [
        [f"{info.name.rpartition('.')[2].lower()} {store.identity(info.path)}" for info in files(store, path)]
        for path in (*source.render.texts, *source.render.pictures)
    ]
