"""The recipe: what is refused, with which words, and what its digest covers."""

from pathlib import Path

import pytest
import yaml

from pipelines.datasets.table import DATASETS
from pipelines.recipe.load import default_path, for_inputs, from_file
from pipelines.recipe.model import Recipe
from pipelines.recipe.parse import parse
from schemas.errors import RecipeError
from schemas.sample import TASKS

SMALL = "sources:\n  - id: web\n    path: data\n"


def refused(text: str) -> str:
    """The sentence with which a recipe is refused."""
    with pytest.raises(RecipeError) as caught:
        parse(text, "r.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SMALL + "langages: [en]\n", "r.yaml:4: unknown key langages; did you mean languages? allowed are "),
        (SMALL + "    licens: x\n", "r.yaml:4: unknown key sources.0.licens; did you mean licence?"),
        (
            SMALL + "rules:\n  min_side:\n    pixel: 3\n",
            "r.yaml:6: unknown key rules.min_side.pixel; did you mean pixels? allowed are pixels",
        ),
        (
            SMALL + "resources:\n  phases:\n    measure: {cpu: 2}\n",
            "r.yaml:6: unknown key resources.phases.measure.cpu; did you mean cpus? allowed are cpus, gpus, memory_gb",
        ),
        (SMALL + "resources:\n  phases:\n    measur: {}\n", "r.yaml:6: resources.phases.measur"),
        (SMALL + "rules:\n  phash: {distance: 3}\n", "r.yaml:5: rules.phash.distance: imagehash's pHash"),
        (SMALL + "rules:\n  min_side: {pixels: 0}\n", "greater than or equal to 1 (it is 0)"),
        (SMALL + "sample: 2\n", "r.yaml:4: sample: Input should be less than or equal to 1 (it is 2)"),
        (
            SMALL + "tasks: [vqa, captoin]\n",
            "r.yaml:4: tasks.1: there is no such task; did you mean caption? tasks are caption, grounding, ",
        ),
        (
            SMALL + "    kind: annotations\n    format: coco_caption\n",
            "r.yaml:5: sources.0.format: 'coco_caption' is unknown here; did you mean coco_captions? known are ",
        ),
        (
            SMALL + "    kind: rendered\n    format: scene\n",
            "r.yaml:5: sources.0.format: 'scene' is unknown here; did you mean scenes? known are ",
        ),
        (SMALL + "    id: other\n", "r.yaml:4: not valid YAML: the key 'id' stands twice"),
        (SMALL + "seed: 1\nseed: 2\n", "r.yaml:5: not valid YAML: the key 'seed' stands twice"),
        (SMALL + "  - id: web\n    path: other\n", "two sources have the id 'web'"),
        ("sources:\n  - path: data\n", "r.yaml:2: sources.0.id is missing"),
        ("name: x\n", "sources is missing"),
        ("sources: []\n", "r.yaml:1: sources: "),
        ("sources:\n  - {id: a/b, path: x}\n", "use letters, digits, - and _ only, at most 100 of them"),
        ("", "sources is missing"),
        ("- a\n- b\n", "r.yaml: a recipe is a map of keys to values, this is a list"),
        ("sources: [\n", "r.yaml:2: not valid YAML"),
        ("a: *nowhere\n", "r.yaml:1: not valid YAML: found undefined alias"),
        (
            "a: !!python/object/apply:os.system [x]\n",
            "r.yaml:1: not valid YAML: could not determine a constr",
        ),
        ("a: \x07\n", "r.yaml: not valid YAML"),
        ("[" * 5000, "r.yaml"),
        (SMALL + "languages: en\n", "r.yaml:4: languages: should be a list (it is 'en')"),
        (SMALL + "rules: []\n", "r.yaml:4: rules: should be a map of keys to values"),
        (SMALL + "rules:\n  min_side: 3\n", "r.yaml:5: rules.min_side: should be a map of keys to values"),
        (
            SMALL + "rules:\n  aspect_ratio: {max: .inf}\n",
            "rules.aspect_ratio.max: should be a finite number",
        ),
        (SMALL + "max_quarantine: .nan\n", "r.yaml:4: max_quarantine: "),
        ("sources: []\n", "r.yaml:1: sources: should not be empty"),
        ("sources:\n  - {id: web, path: ''}\n", "r.yaml:2: sources.0.path.0: String should have at least 1"),
        (SMALL + "out: ''\n", "r.yaml:4: out: String should have at least 1 character"),
        (
            SMALL + "    rules: {caption_length: {min_chars: 9}}\nrules: {caption_length: {max_chars: 8}}\n",
            "caption_length of source 'web' keeps nothing: min_chars 9 is above max_chars 8",
        ),
        ("? [a, b]\n: c\n", "r.yaml:1: not valid YAML"),
        (
            SMALL + "shards: {samples: 10, group: 2}\n",
            "r.yaml:4: shards: there is no key group any more: shards end where the keys of their samples say so",
        ),
    ],
)
def test_a_wrong_recipe(text: str, sentence: str) -> None:
    """What is wrong is told with file, line, key, and what would be right."""
    assert sentence in refused(text)


def test_what_is_wrong_with_the_whole_has_no_key() -> None:
    """Blocks that do not go together are told by the file alone."""
    said = refused(SMALL + "rules: {semantic: {}}\n")
    assert "the recipe" not in said
    assert said.partition(": ")[2].startswith("the semantic rule of source 'web' has nothing to go by")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("rules: {language: {min_score: {en: auto}}}\n", "rules.language.min_score.en: "),
        ("rules: {language: {min_score: {en: 2}}}\n", "rules.language.min_score.en: "),
        ("rules: {personal_data: {kinds: [emails]}}\n", "rules.personal_data.kinds.0: "),
        ("    fetch: {ports: [99999]}\n", "sources.0.fetch.ports.0: "),
        ("    fetch: {allow_addresses: [x]}\n", "sources.0.fetch.allow_addresses.0: "),
    ],
)
def test_one_wrong_value_is_one_sentence(text: str, key: str) -> None:
    """What is wrong inside a list or a map is not told of the list or the map as well."""
    with pytest.raises(RecipeError) as error:
        parse(SMALL + text, "r.yaml")
    assert len(error.value.args) == 1
    assert key in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "languages: [en, english]\n",
            "r.yaml:1: languages: 'english' is no language that is known; use ISO",
        ),
        ("languages: [xx]\n", "r.yaml:1: languages: 'xx' is no language"),
        (
            "rules:\n  script: {scripts: [Latn]}\n",
            "r.yaml:2: rules.script.scripts: 'Latn' is unknown; near are Latin",
        ),
        (
            "rules:\n  caption_length: {min_letters: {Latn: 3}}\n",
            "r.yaml:2: rules.caption_length: 'Latn' is unknown; near are Latin",
        ),
        (
            "rules:\n  pattern: {allow: [urls]}\n",
            "r.yaml:2: rules.pattern.allow: 'urls' is unknown; near are url",
        ),
        ("clip: {scorers: {enn: {}}}\n", "r.yaml:1: clip.scorers: 'enn' is no language"),
    ],
)
def test_a_name_that_nobody_knows(text: str, sentence: str, tmp_path: Path) -> None:
    """A misspelt language, script or pattern is refused: it would drop every row in silence."""
    path = tmp_path / "r.yaml"
    path.write_text(text + SMALL)
    with pytest.raises(RecipeError) as caught:
        from_file(str(path))
    assert sentence in str(caught.value).replace(str(tmp_path) + "/", "")


def test_names_that_are_known(tmp_path: Path) -> None:
    """Regional codes, a recipe's own patterns and every script of the languages are no mistakes."""
    path = tmp_path / "r.yaml"
    path.write_text(
        SMALL + "languages: [zh-TW, pt_BR, yue, no]\nrules: {script: {scripts: [Han, Latin]},"
        " pattern: {allow: [mine, repeated_words, url]}}\nsignals: {caption: {patterns: {mine: 'x+'}}}\n"
    )
    assert from_file(str(path)).languages == ("zh-TW", "pt_BR", "yue", "no")


def test_what_the_command_line_says_is_not_blamed_on_the_file() -> None:
    """A wrong option is named as an option, without the recipe's name or line."""
    with pytest.raises(RecipeError) as caught:
        parse(SMALL + "sample: 0.5\n", "r.yaml", {"sample": 2.0})
    assert str(caught.value).startswith("the options: sample: ")


def test_several_mistakes() -> None:
    """Each mistake has its own line, up to five."""
    lines = refused(SMALL + "seed: -1\nsample: 3\nlangs: [en]\n").splitlines()
    assert [line.split(":")[1] for line in lines] == ["4", "5", "6"]


def test_aliases_that_explode() -> None:
    """A few lines of aliases that unfold to billions of values are refused at once."""
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert "aliases unfold to more than" in refused(bomb)


def test_an_alias_of_itself() -> None:
    """A value that holds itself is refused, not followed for ever."""
    assert "r.yaml" in refused("a: &a [*a]\n")


def test_too_long() -> None:
    """A text of more than a mebibyte is not parsed at all."""
    assert "more than" in refused("#" * (1 << 20) + "\n")


def test_no_is_norwegian() -> None:
    """`no` and `y` are text; `on`, `off`, `true` and `false` are truth values."""
    recipe = parse(SMALL + "languages: [no, en]\nrules: {emoji: off, blank: on, clip: false}\n", "r.yaml")
    assert recipe.languages == ("no", "en")
    assert recipe.rules.emoji is False
    assert recipe.rules.blank
    assert recipe.rules.clip is False


def test_a_sources_rules_lie_over_the_recipes() -> None:
    """A source's own keys win, key by key; `off` takes a rule away, and a block turns it on again."""
    text = """
languages: [en]
rules:
  min_side: {pixels: 300}
  caption_length: {min_chars: 10, max_chars: 90}
  emoji: off
sources:
  - {id: plain, path: a}
  - id: own
    path: b
    languages: [zh]
    max_quarantine: 0.5
    rules: {caption_length: {max_chars: 500}, emoji: {max: 2}, min_side: off}
"""
    recipe = parse(text, "r.yaml")
    plain, own = (recipe.rules_of(recipe.source(name)) for name in ("plain", "own"))
    assert plain.min_side
    assert plain.min_side.pixels == 300
    assert plain.emoji is False
    assert own.caption_length
    assert (own.caption_length.min_chars, own.caption_length.max_chars) == (10, 500)
    assert own.emoji
    assert own.emoji.max == 2
    assert own.min_side is False
    assert recipe.languages_of(recipe.source("own")) == ("zh",)
    assert recipe.languages_of(recipe.source("plain")) == ("en",)
    assert recipe.max_quarantine_of(recipe.source("own")) == 0.5
    assert recipe.max_quarantine_of(recipe.source("plain")) == recipe.max_quarantine


def test_a_source_may_name_phash_without_a_distance() -> None:
    """`phash: on` takes the recipe's distance; another distance, or one where the recipe has none, is refused."""
    recipe = parse(SMALL + "    rules: {phash: on}\nrules: {phash: {distance: 8}}\n", "r.yaml")
    assert recipe.rules_of(recipe.sources[0]).phash == recipe.rules.phash
    for rules in (
        "{phash: {distance: 2}}\nrules: {phash: {distance: 8}}",
        "{phash: on}\nrules: {phash: off}",
    ):
        assert "has a phash distance of its own" in refused(SMALL + f"    rules: {rules}\n")


BASE = {"sources": [{"id": "web", "path": "a"}]}


@pytest.mark.parametrize(
    "change",
    [
        {"out": "elsewhere"},
        {"max_quarantine": 0.9},
        {"max_bad_shards": 3},
        {"resources": {"memory_gb": 2, "phases": {"measure": {"cpus": 2}}}},
        {"storage_options": {"key": "secret"}},
        {
            "sources": [
                {"id": "web", "path": ["b", "c"], "storage_options": {"secret": "s"}, "max_quarantine": 1}
            ]
        },
    ],
)
def test_the_digest_ignores(change: dict[str, object]) -> None:
    """Paths, credentials, resources and stops are no part of what determines the data."""
    assert digest(BASE | change) == digest(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"languages": ["en"]},
        {"rules": {"emoji": {"max": 1}}},
        {"resize": {"max_side": 100}},
        {"sample": 0.5},
        {"splits": {"val": 0.1}},
        {"sources": [{"id": "web", "path": "a", "origin": "a crawl"}]},
        {"sources": [{"id": "web", "path": "a", "role": "eval"}]},
        {"sources": [{"id": "web", "path": "a"}, {"id": "more", "path": "b"}]},
    ],
)
def test_the_digest_covers(change: dict[str, object]) -> None:
    """All that determines the data changes the digest."""
    assert digest(BASE | change) != digest(BASE)


def digest(record: dict[str, object]) -> str:
    return parse(yaml.safe_dump(record), "r.yaml").digest()


def test_options_stand_above_the_file(tmp_path: Path) -> None:
    """What the command line says wins over the file; a file that is none is a sentence."""
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.encode() + b"seed: 3\n")
    assert from_file(str(path)).seed == 3
    assert from_file(str(path), {"seed": 5}).seed == 5
    with pytest.raises(RecipeError, match=r"cannot read the recipe .*no such file"):
        from_file(str(tmp_path / "no.yaml"))
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(RecipeError, match=r"UTF-8"):
        from_file(str(path))


def test_the_default_recipe() -> None:
    """Inputs alone get the default recipe, as one source called `input`."""
    recipe = for_inputs(["a.tar", "b"], "webdataset", {"languages": ["en"]})
    assert [(source.id, source.path, source.kind) for source in recipe.sources] == [
        ("input", ("a.tar", "b"), "webdataset")
    ]
    assert recipe.languages == ("en",)
    assert default_path().is_file()


def test_every_recipe_that_comes_along() -> None:
    """Every recipe of the repository parses; the default one takes its sources from the command line."""
    paths = sorted(default_path().parent.glob("*.yaml"))
    assert default_path() in paths
    for path in paths:
        if path != default_path():
            from_file(str(path))


def test_the_schema() -> None:
    """The JSON Schema that editors use names every key and refuses others."""
    schema = Recipe.model_json_schema()
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["tasks"]["items"]["enum"] == list(TASKS)
    assert set(DATASETS) <= set(
        schema["$defs"]["Source"]["properties"]["format"]["anyOf"][0]["anyOf"][0]["enum"]
    )
