import json
import traceback
from pathlib import Path
from typing import Any

import pytest

import vlcorpus
from pipelines.files import Store
from pipelines.recipe.parse import parse
from schemas.errors import InputError, RecipeError
from tests.pipelines.crawls import demo, run_inline

SECRET = "hunter2S3CRET"

WRONG = (
    f"storage_options: {SECRET}",
    f"storage_options: [{SECRET}]",
    f"sources: [{{id: a, path: x, storage_options: {SECRET}}}]",
    f"sources: [{{id: a, path: x, storage_options: {{1234: {SECRET}}}}}]",
    f"sources: [{{id: a, path: x, storage_option: {{secret: {SECRET}}}}}]",
    f"storage_options: {{secret: *{SECRET}}}",
    f"storage_options: {{secret: !{SECRET} x}}",
    f"storage_options: {{secret: !{SECRET}!x y}}",
    f"storage_options: {{secret: '{SECRET}}}",
    f"storage_options: {{secret: @{SECRET}}}",
    f'storage_options: {{secret: "\\{SECRET}"}}',
    f"storage_options: {{secret: !!int {SECRET}}}",
    f"storage_options: {{secret: !!timestamp {SECRET}}}",
    f"storage_options: {{? [{SECRET}] : 1}}",
    f"out: s3://key:{SECRET}@bucket/c\nsources: [{{id: a, path: x, kind: nonsense}}]",
    f"sources: [{{id: a, path: 's3://key:{SECRET}@bucket/c', kind: 's3://key:{SECRET}@bucket/c'}}]",
)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_recipe_is_said_without_its_secrets(text: str) -> None:
    """Neither the sentence nor the traceback behind it repeats a value of storage options or of an address."""
    with pytest.raises(RecipeError) as caught:
        parse(text, "recipe.yaml")
    assert SECRET not in "".join(traceback.format_exception(caught.value)).replace(text, "")


@pytest.mark.parametrize("options", [SECRET, [SECRET], {1234: SECRET}])
def test_a_mapping_is_refused_without_its_secrets(options: Any) -> None:
    """A recipe given from Python is refused as one from a file is."""
    recipe = {"sources": [{"id": "a", "path": "x", "storage_options": options, "kind": 5}]}
    with pytest.raises(vlcorpus.Error) as caught:
        vlcorpus.build(recipe, engine="inline", progress=False)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "options",
    [
        {"client_kwargs": SECRET},
        {"client_kwargs": {"endpoint_url": SECRET}},
        {"config_kwargs": {SECRET: 1}},
        {"nonsense": SECRET},
        {"key": 5, "secret": SECRET},
        {"secret": [SECRET]},
    ],
)
def test_options_that_do_not_suit_the_store_are_not_quoted(options: dict[str, Any]) -> None:
    """Options that the store's client refuses, however it does, are refused in one sentence without their values."""
    pytest.importorskip("s3fs")
    with pytest.raises(InputError) as caught:
        Store(options).exists("s3://bucket/a")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_run_leaves_no_address_with_its_secrets(tmp_path: Path) -> None:
    """What a failed run prints, logs and says in its status names no user, password or signature."""
    shards = demo(tmp_path / "crawl", 20, 20)
    recipe = tmp_path / "recipe.yaml"
    wrong = f"s3://key:{SECRET}@nowhere/a.tar?X-Amz-Signature={SECRET}"
    sources = [
        {"id": "a", "path": str(shards)},
        {"id": "b", "path": wrong, "storage_options": {"anon": SECRET * 2}},
    ]
    recipe.write_text(json.dumps({"sources": sources}))
    out = tmp_path / "out"
    done = run_inline("build", recipe, "--out", out)
    assert done.returncode == 1
    looked = run_inline("status", out)
    kept = "".join(path.read_text() for path in (out / "work/log").iterdir())
    assert "nowhere" in kept
    assert SECRET not in done.stdout + done.stderr + looked.stdout + looked.stderr + kept
