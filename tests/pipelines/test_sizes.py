"""Views, images, characters and tokens, counted by a named tokenizer."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from model.encode import encode
from pipelines.recipe.model import Recipe
from pipelines.sizes import Sizer, check, image_tokens, name_of, totals
from schemas.errors import RecipeError
from schemas.manifest import Size
from schemas.markup import STAGE2
from schemas.sample import Example, Phrase, Turn
from tests.model.corpora import TASKS, example, tokenizer

EXAMPLES = [example(task, number) for task in TASKS for number in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of the small corpora."""
    made = tmp_path_factory.mktemp("tokenizer")
    tokenizer().save(made)
    return made


def recipe(**given: Any) -> Recipe:
    return Recipe.model_validate({"sources": [{"id": "s", "path": "x"}], **given})


def by_task(sizes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["task"]: one for one in sizes}


def test_tokens_are_those_of_the_loader(folder: Path) -> None:
    """A view has as many tokens as the loader gives it, its images with the queries of the preset."""
    given = recipe(tokenizer=str(folder), preset="tiny")
    found = by_task(Sizer(given).sizes(EXAMPLES))
    for task in TASKS:
        own = [one for one in EXAMPLES if one.task == task]
        assert found[task]["tokens"] == sum(len(encode(one, tokenizer(), 16, STAGE2)) for one in own)
        assert found[task]["characters"] == sum(len(one.text) for one in own)
        assert (found[task]["views"], found[task]["images"]) == (4, 0 if task == "text" else 4)
    assert image_tokens(given) == 18
    assert image_tokens(recipe()) == 258


def test_without_a_tokenizer(folder: Path) -> None:
    """Characters are counted, and no token."""
    assert "tokens" not in Sizer(recipe()).sizes(EXAMPLES)[0]
    (one,) = totals({("s", "a"): {"sizes": Sizer(recipe()).sizes(EXAMPLES[:3])}})
    assert one == Size(
        split="train", task="caption", source="s", views=3, images=3, characters=one.characters
    )
    assert name_of(recipe()) == ""
    assert name_of(recipe(tokenizer=str(folder))).startswith(f"{tokenizer().size:,} tokens, sha256 ")


def test_a_view_that_fits_no_template(folder: Path) -> None:
    """The loader drops it, so it has no token."""
    flat = (Turn("document", (Phrase("x", ((5, 5, 5, 9),), supervised=True),)),)
    (found,) = Sizer(recipe(tokenizer=str(folder))).sizes([replace(example("referring", 0), turns=flat)])
    assert (found["views"], found["tokens"]) == (1, 0)


@given(st.lists(st.sampled_from(EXAMPLES)), st.integers(1, 4))
def test_shard_by_shard(examples: list[Example], parts: int) -> None:
    """The sums over input shards are those of all views at once."""
    sizer = Sizer(recipe())
    shards = {("s", str(at)): {"sizes": sizer.sizes(examples[at::parts])} for at in range(parts)}
    assert totals(shards) == totals({("s", ""): {"sizes": sizer.sizes(examples)}})


def test_another_tokenizer(tmp_path: Path) -> None:
    """A tokenizer.json of the tokenizers library counts too, without the length that it may cut texts to."""
    plain = Tokenizer(models.WordLevel({"a": 0, "red": 1, "?": 2}, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.enable_truncation(2)
    plain.enable_padding(length=50)
    plain.save(str(tmp_path / "tokenizer.json"))
    (found,) = Sizer(recipe(tokenizer=str(tmp_path), preset="tiny")).sizes([example("caption", 0)])
    # " a red circle is here" and, around it, the image, the prompt's five words, a colon and the end
    text = "Describe the image in English:"
    assert found["tokens"] == 18 + len(plain.pre_tokenizer.pre_tokenize_str(text)) + 5 + 1


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (None, "does not exist: give a folder with tokenizer.json, or Qwen's tiktoken file"),
        ({}, "holds no tokenizer: a tokenizer.json of at most 64 MiB is needed"),
        ({"tokenizer.json": "{"}, "holds a damaged tokenizer"),
        ({"tokenizer.json": "{}", "tokenizer_layout.json": "{}"}, "holds a damaged tokenizer"),
        ("words", "line 1: not `base64 rank`"),
    ],
)
def test_a_tokenizer_that_cannot_be_read(tmp_path: Path, files: Any, sentence: str) -> None:
    """It is one sentence, before anything is built."""
    path = tmp_path / "tokenizer"
    if isinstance(files, str):
        path.write_text(files)
    elif files is not None:
        path.mkdir()
        for name, text in files.items():
            (path / name).write_text(text)
    with pytest.raises(RecipeError) as caught:
        check(recipe(tokenizer=str(path)))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_digest_goes_by_the_files(folder: Path, tmp_path: Path) -> None:
    """Equal tokenizers have one name wherever they lie; another has another."""
    tokenizer().save(tmp_path)
    first, second = (name_of(recipe(tokenizer=str(one))) for one in (folder, tmp_path))
    assert first == second
    layout = tmp_path / "tokenizer_layout.json"
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    (other / "tokenizer_layout.json").write_text(json.dumps(json.loads(layout.read_text()) | {"extras": 7}))
    assert name_of(recipe(tokenizer=str(other))) != first
