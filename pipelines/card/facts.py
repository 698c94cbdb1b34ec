"""What of the machine shows in a corpus: libraries by version, codecs, fonts' shaping, browsers, chunkers."""

from collections.abc import Mapping

from filters.text_area import LIBRARIES, TextSettings, reader_versions
from pipelines.engines.step import Json
from pipelines.generators import TextPageSettings, pillow
from pipelines.layout import Name
from pipelines.phases.ground import libraries_of as ground_libraries
from pipelines.phases.render import facts_of, generator_of
from pipelines.receipts import fingerprint
from pipelines.recipe.model import Recipe

CODECS = ("avif", "jpg_2000", "libjpeg_turbo", "libtiff", "littlecms2", "webp", "zlib", "zlib_ng")
"""What Pillow decodes images with, and what it may be built without."""


def facts(recipe: Recipe, grounded: Mapping[Name, Json]) -> dict[str, str]:
    """Returns what two machines with equal libraries may still differ in, without a path of this one.

    `grounded` holds the receipts of phase ground by (source, shard).
    """
    found = pillow(*CODECS)
    if text := recipe.signals.get(TextSettings):
        found["reader of text"] = (
            f"{text.reader} ({fingerprint(reader_versions(text.reader, text.models))[:16]})"
        )
    for source in recipe.sources:
        if source.render is not None:
            found |= {f"{source.id}: {name}": value for name, value in facts_of(recipe, source).items()}
    for (source_id, _), receipt in grounded.items():
        found |= {f"{source_id}: chunker of {code}": name for code, name in receipt["chunkers"].items()}
    return found


def libraries(recipe: Recipe) -> list[str]:
    """Returns the distributions that make, read back and ground the recipe's sources, and read text in images."""
    text = recipe.signals.get(TextSettings)
    found = list(LIBRARIES[text.reader]) if text else []
    for source in recipe.sources:
        if source.render is not None:
            found += generator_of(source).libraries
        if isinstance(source.render, TextPageSettings) and source.render.readback:
            found += LIBRARIES[source.render.reader]
        if source.ground is not None:
            found += ground_libraries(source.ground)
    return found
