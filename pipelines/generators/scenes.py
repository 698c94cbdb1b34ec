"""Generator `scenes`: drawn scenes, with samples of every task that an image can serve."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field

from pipelines.generators import Generator, Item, Job, Maker, Page, RenderSettings, pillow
from synth import scenes
from synth.scenes import COLOURS, SHAPES, SIZES
from synth.seeds import generator

if TYPE_CHECKING:
    Shape: TypeAlias = str
    Colour: TypeAlias = str
    Size: TypeAlias = str
else:
    Shape, Colour, Size = (Literal[tuple(names)] for names in (SHAPES, COLOURS, SIZES))


class SceneSettings(RenderSettings):
    """How scenes are drawn."""

    count: int = Field(gt=0, le=10**9, description="images")
    side: int = Field(160, ge=32, le=2048, description="pixels of the longer side")
    shapes: tuple[Shape, ...] = Field((), description="the shapes that are drawn; default: all ten")
    colours: tuple[Colour, ...] = Field((), description="their colours; default: all eleven")
    sizes: tuple[Size, ...] = Field((), description="their sizes; default: small, medium, large")
    objects: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        (), description="how many objects an image may hold; default: 1, 2, 3, 4"
    )
    regions: int = Field(
        2, ge=1, le=4, description="of how many objects an image's samples ask where they are, at most"
    )


def _open(job: Job) -> Maker:
    from synth.content import encode
    from synth.views import views

    settings: SceneSettings = job.settings
    kit = scenes.Kit(
        settings.shapes or scenes.ALL.shapes,
        settings.colours or scenes.ALL.colours,
        settings.sizes or scenes.ALL.sizes,
        settings.objects or scenes.ALL.counts,
    )
    languages = job.languages or ("en",)

    def pages(item: Item) -> Iterator[Page]:
        rng = generator(job.seed, f"scene {job.source}", item.number)
        language = languages[item.number % len(languages)]
        scene = scenes.draw(rng, rng.uniform(0.8, 1.25), kit=kit)
        size = scene.frame(settings.side)
        image = encode(scenes.render(scene, size), "png")
        made = views(scene, size, language, rng, settings.regions)
        yield Page(item.name, image, language, made, parameters={"objects": len(scene.objects)})

    return Maker(pages)


def _marks(job: Job, items: Any) -> list[Any]:
    return [list(job.languages)] * len(items)


SCENES = Generator(
    name="scenes",
    settings=SceneSettings,
    open=_open,
    libraries=("numpy", "pillow", "scikit-image"),
    unit="scene",
    per_task=500,
    facts=lambda job: pillow("zlib", "zlib_ng"),
    marks=_marks,
)
