"""A corpus as a notebook shows it: its funnel and a few images, in one piece of HTML."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import islice
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from pipelines.show.gallery import data_uri
from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.plain import mended, mended_lines

IMAGES: Final = 4
"""How many images are shown."""

_LOOKED_AT: Final = 200
"""How many samples are read at most to find images."""


def corpus_html(folder: str, manifest: Manifest, examples: Iterable[Any]) -> str:
    """Returns HTML with the funnel of each source and the first images; every text is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("pipelines.show").joinpath("notebook.html.jinja").read_text("utf-8")
    )
    trouble, shown = "", []
    try:
        shown = list(islice(_shown(islice(examples, _LOOKED_AT)), IMAGES))
    except InputError as error:
        trouble = str(error)
    return template.render(folder=mended(folder), manifest=manifest, shown=shown, trouble=trouble)


def _shown(examples: Iterator[Any]) -> Iterator[Sequence[str]]:
    """Yields (data URI, caption) of the first image of each sample that has one a browser can show."""
    for example in examples:
        uri = data_uri(example.images[0]) if example.images else None
        if uri is not None:
            yield uri, mended_lines(example.sample.caption or example.sample.text)
