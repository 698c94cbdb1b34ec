"""Column maps: a ready name, a map, a map that starts from a ready one."""

import pytest
from pydantic import ValidationError

from pipelines.sources.columns import GUESSES, READY, Columns


def test_without_a_map_names_are_guessed() -> None:
    """The guesses are those of the documentation, and none of them is required."""
    columns = Columns()
    assert columns.names("image") == ("image", "jpg", "image_bytes", "bytes", "content")
    assert columns.names("caption")[1:] == ("caption", "text", "TEXT")
    assert columns.names("url") == ("url", "URL")
    assert not any(columns.required(part) for part in GUESSES)


@pytest.mark.parametrize("name", sorted(READY))
def test_a_ready_mapping_is_one_word(name: str) -> None:
    """`columns: laion` stands for the mapping of that name, and its caption is required."""
    columns = Columns.model_validate(name)
    assert columns.names("caption") == READY[name]["caption"]
    assert columns.required("caption")
    assert not columns.required("extra")
    assert Columns.model_validate(columns.model_dump()) == columns


def test_a_map_goes_beyond_a_ready_one() -> None:
    """What the map names replaces the ready part and is required; a lone name may stand for a list."""
    columns = Columns.model_validate({"like": "laion", "caption": "top_caption", "extra": ["hash"]})
    assert columns.names("caption") == ("top_caption",)
    assert columns.names("extra") == ("hash",)
    assert columns.names("url") == ("URL", "url")
    assert columns.required("extra")
    assert not columns.required("url")


@pytest.mark.parametrize("value", ["lion", {"caption": []}, {"captoin": "text"}, {"image": [1]}, ["a"]])
def test_a_wrong_map_is_refused(value: object) -> None:
    """An unknown ready name or part, an empty list, a name that is no text."""
    with pytest.raises(ValidationError):
        Columns.model_validate(value)
