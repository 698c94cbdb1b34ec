"""What an epoch draws by the recipe's mixture, from the recipe to the loader."""

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import vlcorpus
from model import shards
from model.loader import Feed, Loader
from model.settings import TrainConfig, mixture_of, stage_settings
from model.store import Store
from pipelines import removal, runs
from pipelines.card.drawn import Drawn, draw_sentences, drawn
from pipelines.card.readme import card
from pipelines.recipe.model import Recipe
from schemas.errors import InputError
from schemas.manifest import Manifest, Size, load
from schemas.mixture import read
from tests.model.corpora import preset_file, tokenizer
from tests.pipelines.building import Heard
from tests.pipelines.crawls import demo

MIXTURE = {"vqa/*": 1, "caption/drawn": {"weight": 2, "max_samples": 4}, "referring/*": 0}


def recipe(out: Path, **given: Any) -> dict[str, Any]:
    """Drawn scenes, whose samples have views of many tasks."""
    scenes = {"id": "drawn", "kind": "rendered", "format": "scenes", "render": {"count": 8, "side": 256}}
    return {"sources": [scenes], "tasks": ["caption", "vqa", "referring"], "out": str(out), **given}


def build(given: dict[str, Any]) -> tuple[Manifest, list[str]]:
    """Builds a corpus inline; its manifest, and what the run said at its end."""
    heard = Heard()
    remarks: list[str] = []
    heard.finish = lambda *facts: remarks.extend(facts[-1])  # type: ignore[method-assign]
    layout = runs.run(Recipe.model_validate(given), "card", runs.Options("inline"), heard)  # type: ignore[arg-type]
    return load(Path(layout.out, "manifest.json").read_bytes()), remarks


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, list[str]]:
    top = tmp_path_factory.mktemp("drawn")
    tokenizer().save(top)
    manifest, remarks = build(recipe(top / "corpus", mixture=MIXTURE, tokenizer=str(top), preset="tiny"))
    return top / "corpus", manifest, remarks


def test_the_manifest_has_mixture_and_sizes(corpus: tuple[Path, Manifest, list[str]]) -> None:
    """The mixture as the recipe has it; views, images, characters and tokens of each stratum."""
    folder, manifest, _ = corpus
    assert read(manifest.mixture) == read(MIXTURE)
    assert manifest.tokenizer.startswith(f"{tokenizer().size:,} tokens, sha256 ")
    assert (manifest.preset, manifest.image_tokens) == ("tiny", 18)
    counted: Counter[str] = Counter()
    for example in vlcorpus.Corpus.open(folder).samples():
        counted.update(view.task for view in example.sample.views)
    assert {one.task: one.views for one in manifest.sizes} == counted
    assert all(one.images == one.views for one in manifest.sizes)
    assert all(one.tokens is not None and one.tokens > 18 * one.images for one in manifest.sizes)
    assert vlcorpus.Corpus.open(folder).verify() == []


def test_the_run_and_the_card_tell_it(corpus: tuple[Path, Manifest, list[str]]) -> None:
    """Views and tokens that an epoch draws, in all and of each stratum; what is left out."""
    _, manifest, remarks = corpus
    views = {one.task: one.views for one in manifest.sizes}
    every = views["vqa"] + 4
    said = [line for line in remarks if line.startswith("mixture: ")]
    assert said[0].startswith(f"mixture: an epoch draws {every:,} views, ")
    assert said[0].endswith(" tokens")
    third = f"{float(Fraction(every, 3)):,.0f}"
    assert any(
        f"vqa/drawn: {views['vqa']} of {views['vqa']} views take part, drawn {third} times" in one
        for one in said
    )
    assert any(f"caption/drawn: 4 of {views['caption']} views take part, drawn " in one for one in said)
    assert f"mixture: referring/drawn: left out ({views['referring']:,} views)" in said
    text = card(manifest)
    assert "## The mixture" in text
    assert f"| vqa/drawn | {views['vqa']} | {views['vqa']} | {third} | 33.3 % | " in text
    assert f"| referring/drawn | {views['referring']} | 0 | 0 | 0.0 % | 0 |" in text


def test_the_loader_goes_by_it(corpus: tuple[Path, Manifest, list[str]], tmp_path: Path) -> None:
    """A run on the corpus draws what the card says, without being told."""
    folder, manifest, _ = corpus
    config = TrainConfig(str(folder), tmp_path, ("2",), preset_file(tmp_path))
    stage = stage_settings(config, "2")
    store = Store(str(folder))
    strata = shards.find(store, "train", stage.tasks)
    mixture = mixture_of(config, stage, strata)
    feed = Feed(store, strata, length=256, micro=2, side=16, queries=4, mixture=mixture, endless=False)
    keys = [key for batch in Loader(feed, tokenizer()) for row in batch.keys for key in row]
    tasks = Counter(key.split("-")[1] for key in keys)
    expected = {one.name.split("/")[0]: one.drawn for one in drawn(read(manifest.mixture), manifest.sizes)}
    assert {task: int(count) for task, count in expected.items() if count} == dict(tasks)
    assert len({key for key in keys if "-caption-" in key}) == 4


def test_a_change_of_the_mixture_writes_no_sample_again(corpus: tuple[Path, Manifest, list[str]]) -> None:
    """Manifest and card change, and nothing else is done again; without a mixture nothing is told."""
    folder, before, _ = corpus
    given = recipe(folder, tokenizer=str(folder.parent), preset="tiny")
    heard = Heard()
    runs.run(Recipe.model_validate(given), "card", runs.Options("inline"), heard)  # type: ignore[arg-type]
    assert {phase: ran for phase, ran in heard.ran.items() if ran} == {"card": 1}
    after = load((folder / "manifest.json").read_bytes())
    assert after.mixture == {}
    assert after.sizes == before.sizes
    assert after.recipe != before.recipe
    assert "## The mixture" not in card(after)
    assert list(draw_sentences(Recipe.model_validate(given), {})) == []


def test_what_the_corpus_turned_out_to_lack(tmp_path: Path) -> None:
    """A pattern that the recipe can have but the data did not bring stops the build, with what is there."""
    web = {
        "id": "web",
        "path": str(demo(tmp_path / "crawl", 20, 20)),
        "columns": "img2dataset",
        "max_quarantine": 1,
    }
    given = {"sources": [web], "out": str(tmp_path / "out"), "mixture": {"caption/web": 1, "text/*": 1}}
    with pytest.raises(
        InputError, match=r"mixture: text/\* matches nothing; there is caption/web in the training split"
    ):
        build(given)
    with pytest.raises(InputError, match="the corpus is empty"):
        build({**given, "out": str(tmp_path / "empty"), "rules": {"min_side": {"pixels": 9999}}})
    manifest, _ = build({**given, "mixture": {"caption/web": 1}})
    assert manifest.tokenizer == ""
    assert "characters" in card(manifest)


def test_a_stratum_whose_rows_are_all_removed(
    corpus: tuple[Path, Manifest, list[str]], tmp_path: Path
) -> None:
    """Its removal is done, with a warning, and the manifest's mixture goes without it; what is left is drawn."""
    web = {
        "id": "web",
        "path": str(demo(tmp_path / "crawl", 20, 20)),
        "columns": "img2dataset",
        "max_quarantine": 1,
    }
    both = recipe(tmp_path / "out", mixture={"caption/web": 1, "vqa/*": 1})
    both["sources"] = [web, *both["sources"]]
    build(both)
    keys = [
        view.key
        for one in vlcorpus.Corpus.open(tmp_path / "out").samples(source="web")
        for view in one.sample.views
    ]
    listed = tmp_path / "keys.txt"
    listed.write_text("\n".join(["key", *keys]))
    heard = Heard()
    made = Recipe.model_validate(both)
    runs.remove(made, removal.read(str(listed)), runs.Options("inline"), heard)  # type: ignore[arg-type]
    assert [line for line in heard.said if line.startswith("warning: mixture: caption/web matches nothing")]
    after = load((tmp_path / "out" / "manifest.json").read_bytes())
    assert after.mixture == {"vqa/*": {"weight": 1}}
    assert list(after.problems()) == []
    anew, _ = build({**both, "out": str(tmp_path / "anew"), "removed": str(listed)})
    assert anew == after


def test_a_manifest_that_contradicts_itself(corpus: tuple[Path, Manifest, list[str]]) -> None:
    """Sizes of other views, and a mixture that names what is not there, are problems of a manifest."""
    _, manifest, _ = corpus
    first, *others = manifest.sizes
    fewer = manifest.model_copy(
        update={"sizes": (first.model_copy(update={"views": first.views - 1}), *others)}
    )
    assert list(fewer.problems()) == [
        f"train/{first.task}/drawn: {first.views} views, but the size of {first.views - 1}"
    ]
    lacking = manifest.model_copy(update={"mixture": {"ocr/*": {"weight": 1}}})
    assert [one.partition(";")[0] for one in lacking.problems()] == ["mixture: ocr/* matches nothing"]


def test_of_which_split_it_is() -> None:
    """Only views of the training split count."""
    sizes = [
        Size(split=split, task="vqa", source="s", views=views, images=views, characters=10 * views)
        for split, views in (("train", 6), ("eval", 9))
    ]
    assert drawn(read({"vqa/s": {"epochs": 0.5}}), sizes) == [Drawn("vqa/s", 6, 6, 3.0, 30.0, None)]
