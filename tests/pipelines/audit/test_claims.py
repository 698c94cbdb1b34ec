import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.audit.verify import verify
from schemas.manifest import RECIPE, SUM, sum_file
from tests.pipelines.corpora import FOLDER, build, seal

Record = dict[str, Any]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    build(tmp_path)
    return tmp_path


def source(**changes: Any) -> Callable[[Record], object]:
    return lambda record: record["sources"][0].update(changes)


EDITS: dict[str, Callable[[Record], object]] = {
    "name": lambda record: record.update(name="other"),
    "seed": lambda record: record.update(seed=2),
    "recipe": lambda record: record.update(recipe="f" * 64),
    "versions": lambda record: record["versions"].update(pyarrow="1.0"),
    "facts": lambda record: record["facts"].update({"pillow webp": "0.1"}),
    "filters": lambda record: record["filters"].update(caption=99),
    "plugins": lambda record: record.update(
        plugins=[{"group": "filters", "name": "a", "package": "a", "version": "1", "digest": "0" * 64}]
    ),
    "fonts": lambda record: record.update(fonts=["a font"]),
    "scorers": lambda record: record.update(scorers=["a model"]),
    "origin": source(origin="elsewhere"),
    "licence": source(licence="MIT"),
    "licences": lambda record: record.update(licences={"web": {"MIT": 5}}),
    "role": source(role="eval"),
    "thresholds": lambda record: record["thresholds"]["web"]["phash"].update(distance=2),
    "languages": lambda record: record["views"][0].update(languages={"zh": 5}),
    "split of samples": lambda record: record["samples"][0].update(split="val"),
    "verdicts": lambda record: record.update(
        verdicts=[{"source": "web", "shard": "00000", "member": "a", "error": "deadline"}]
    ),
    "bad shards": lambda record: record.update(
        bad_shards=[{"source": "web", "shard": "00000", "rows": 1, "error": "damaged"}]
    ),
    "errors": lambda record: record["funnel"]["web"].update(errors={"empty": 1}),
    "rules": lambda record: record["funnel"]["web"]["rules"][0].update(rule="clip"),
    "rows": lambda record: record["sources"][0].update(rows=11),
    "size of a shard": lambda record: record["outputs"][f"{FOLDER}/00000.tar"].update(size=1),
    "a shard left out": lambda record: record["outputs"].pop(f"{FOLDER}/00000.tar"),
}


@pytest.mark.parametrize("what", EDITS)
def test_whatever_is_edited_in_a_manifest_is_found(corpus: Path, what: str) -> None:
    """A manifest in which one thing is changed, with its digest or without, is not that of its corpus."""
    path = corpus / "manifest.json"
    record = json.loads(path.read_bytes())
    EDITS[what](record)
    path.write_text(json.dumps(record))
    assert any(
        problem.startswith(f"{SUM}: the SHA-256 of manifest.json is") for problem in verify(str(corpus))
    )
    (corpus / SUM).write_bytes(sum_file(path.read_bytes()))
    assert any("this card was written for another manifest" in problem for problem in verify(str(corpus)))


SAID_ELSEWHERE = {
    "name": "recipe.json: the manifest gives as name",
    "seed": "recipe.json: the manifest gives as seed 2, the recipe 1",
    "recipe": "recipe.json: its SHA-256 is",
    "plugins": "recipe.json: the manifest gives as plugins",
    "origin": "recipe.json: the manifest gives as origin of source web",
    "licence": "recipe.json: the manifest gives as licence of source web",
    "licences": "source web: 5 views are under MIT by the manifest, 0 by the shards",
    "role": "recipe.json: the manifest gives as role of source web",
    "thresholds": "recipe.json: the manifest gives as phash.distance of source web 2",
    "languages": f"{FOLDER}: 0 views of task caption in en by the manifest, 5 by the shards",
    "rules": "source web: rule clip dropped 1",
}


@pytest.mark.parametrize("what", SAID_ELSEWHERE)
def test_an_edit_with_card_and_digest_made_anew_contradicts_the_rest(corpus: Path, what: str) -> None:
    """Who writes card and digest anew after an edit still contradicts the recipe, the samples or the decisions."""
    path = corpus / "manifest.json"
    record = json.loads(path.read_bytes())
    EDITS[what](record)
    path.write_text(json.dumps(record))
    seal(corpus)
    assert any(problem.startswith(SAID_ELSEWHERE[what]) for problem in verify(str(corpus)))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"sources": 1}', b"[" * 100_000])
def test_a_recipe_that_is_none_is_a_problem_not_a_crash(corpus: Path, text: bytes) -> None:
    """A stored recipe of the right digest that holds no recipe is said to hold none."""
    (corpus / RECIPE).write_bytes(text)
    path = corpus / "manifest.json"
    record = json.loads(path.read_bytes())
    record["recipe"] = hashlib.sha256(text).hexdigest()
    path.write_text(json.dumps(record))
    seal(corpus, RECIPE)
    assert verify(str(corpus)) == ["recipe.json: it holds no recipe as vlcorpus writes it"]


@pytest.mark.parametrize("name", [RECIPE, SUM])
def test_what_the_manifest_is_held_against_must_be_there(corpus: Path, name: str) -> None:
    """A corpus without its recipe, or without its manifest's digest, says so."""
    (corpus / name).unlink()
    assert f"{name}: missing" in verify(str(corpus))
