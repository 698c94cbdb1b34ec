"""Guesses at columns, one example each."""

import pytest

from pipelines.init.columns import Values, guess, image_format, values_of
from pipelines.readers import InputShard
from pipelines.readers.shard import Format, Kind
from schemas.columns import Part

JPEG = b"\xff\xd8\xff\xe0 and more"
LONG: list[object] = [b"A dog that runs over a wide green field", b"Two cats on an old sofa"]


def shard(kind: Kind, form: Format) -> InputShard:
    """A shard of that kind."""
    return InputShard("web", "a", "a", kind, form, 1)


PARQUET, LINES, TAR = shard("parquet", "parquet"), shard("folder", "jsonl"), shard("webdataset", "tar")


@pytest.mark.parametrize(
    ("of", "values", "names"),
    [
        # a usual name beats what comes first, but only if it holds what it says
        (PARQUET, {"thumb": [JPEG], "jpg": [JPEG]}, {"image": ("jpg",)}),
        (PARQUET, {"image": [b"a.jpg"], "raw": [JPEG]}, {"image": ("raw",)}),
        (PARQUET, {"pic": [{"bytes": JPEG, "path": None}]}, {"image": ("pic",)}),
        (PARQUET, {"pic": [[JPEG]]}, {"image": ("pic",)}),
        (PARQUET, {"pic": [list(JPEG)]}, {"image": ("pic",)}),
        (PARQUET, {"pic": [[-1, -40, -1, -32]]}, {"image": ("pic",)}),
        # members of a tar by suffix, with what stands before it
        (TAR, {"jpg": [b""], "seg.png": [b""], "cls": [b"1"]}, {"image": ("jpg", "seg.png")}),
        (TAR, {"bin": [JPEG], "txt": LONG}, {"image": ("bin",), "caption": ("txt",)}),
        # paths of images, but no addresses
        (LINES, {"file": [b"a/b.JPG"], "note": LONG}, {"image": ("file",), "caption": ("note",)}),
        (LINES, {"where": ["a.png", "b.webp"]}, {"image": ("where",)}),
        (LINES, {"where": ["https://x.org/a.png"]}, {}),
        (LINES, {"picture": [["a.png"]]}, {"image": ("picture",)}),
        # captions: usual names, in order; then names that speak of captions; then the longest text
        (LINES, {"TEXT": LONG, "caption": LONG}, {"caption": ("caption", "TEXT")}),
        (LINES, {"title": LONG, "alt": LONG}, {"caption": ("alt",)}),
        (LINES, {"nr": ["1", "2"], "words": LONG}, {"caption": ("words",)}),
        (LINES, {"nr": ["1", "2"]}, {}),
        (LINES, {"caption": [1, 2]}, {}),
        (LINES, {"caption": [b"\xff\xfe"]}, {}),
        (LINES, {"licence": LONG}, {"extra": ("licence",)}),
        # addresses by their usual name, or by a name that says so
        (LINES, {"url": [], "caption": LONG}, {"url": ("url",), "caption": ("caption",)}),
        (LINES, {"Image_URL": ["https://x.org/a"]}, {"url": ("Image_URL",)}),
        (LINES, {"curling": ["no address"]}, {"caption": ("curling",)}),
        (LINES, {"punsafe": [0.1], "similarity": [0.3]}, {"extra": ("similarity", "punsafe")}),
        (shard("text", "txt"), {"": LONG}, {}),
        (shard("text", "jsonl"), {"file": ["a.jpg"], "text": LONG}, {"caption": ("text",)}),
        (shard("folder", "files"), {"txt": LONG}, {"caption": ("txt",)}),
    ],
)
def test_guesses(of: InputShard, values: Values, names: dict[Part, tuple[str, ...]]) -> None:
    """Each part is guessed from its column's name and values, and no column stands for two parts."""
    found = guess(of, values)
    assert {part: chosen.names for part, chosen in found.items()} == names
    assert all(chosen.why for chosen in found.values())


def test_values() -> None:
    """Columns come in the order of their first appearance, without nulls."""
    assert values_of([{"a": 1, "b": None}, {"c": 3, "b": 2}]) == {"a": [1], "b": [2], "c": [3]}


@pytest.mark.parametrize(
    "value", [None, 1, "text", b"", b"RIFFed text, no WebP", b"BMW cars on a road", [], {}, [{"a": 1}], [1.5]]
)
def test_what_is_no_image(value: object) -> None:
    """What has no signature of an image is none."""
    assert image_format(value) is None
