"""Guesses at columns, one example each."""

import pytest

from pipelines.init.columns import Values, guess, image_format, values_of
from pipelines.sources import InputShard
from pipelines.sources.columns import Part

JPEG = b"\xff\xd8\xff\xe0 and more"
LONG: list[object] = [b"A dog that runs over a wide green field", b"Two cats on an old sofa"]


def shard(kind: str, form: str) -> InputShard:
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
        # what a build reads as captions by a usual name, whatever it is
        (LINES, {"caption": [1, 2]}, {"caption": ("caption",)}),
        (LINES, {"caption": [b"\xff\xfe"]}, {"caption": ("caption",)}),
        (LINES, {"caption": [["a cat"]], "note": LONG}, {"caption": ("caption",)}),
        (PARQUET, {"caption": [["a cat", b"a dog"], []]}, {"caption": ("caption",)}),
        (PARQUET, {"caption": [1.5, True], "alt": LONG}, {"caption": ("alt",)}),
        (PARQUET, {"alt_texts": [[b"a cat", b"a dog"]]}, {"caption": ("alt_texts",)}),
        # a field of a tar's record that has the name of an image is no member
        (TAR, {"jpg": ["short"], "png": [b""]}, {"image": ("png",)}),
        # what cannot be carried is no extra
        (LINES, {"licence": [{"name": "CC"}], "punsafe": [0.1]}, {"extra": ("punsafe",)}),
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


@pytest.mark.parametrize(
    ("of", "values", "by_default"),
    [
        (TAR, {"jpg": [b""], "txt": LONG}, {"image", "caption"}),
        (TAR, {"bin": [JPEG], "txt": LONG}, {"caption"}),
        (PARQUET, {"image": [b"a.jpg"], "jpg": [JPEG], "alt": LONG}, set()),
        (PARQUET, {"image": [JPEG], "jpg": [JPEG], "url": []}, {"image", "url"}),
        (LINES, {"file_name": ["a.jpg"], "picture": ["b.jpg"]}, {"image"}),
        (LINES, {"picture": ["b.jpg"]}, set()),
    ],
)
def test_what_a_build_finds(of: InputShard, values: Values, by_default: set[Part]) -> None:
    """Columns that a build finds without a recipe are marked, others are not."""
    assert {part for part, chosen in guess(of, values).items() if chosen.by_default} == by_default
