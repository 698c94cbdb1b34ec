"""What the documentation says to type and to write is accepted as it stands."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipelines.cli import app
from pipelines.recipe.parse import parse

HOUSE = Path(__file__).parent.parent.parent
PAGES = [HOUSE / "docs" / f"{name}.md" for name in ("ray", "beam", "recipe", "output")]
DEPLOY = HOUSE / "deploy"
RECIPE_PAGE = (HOUSE / "docs" / "recipe.md").read_text()


def commands(text: str) -> list[list[str]]:
    """The words of every indented line that calls vlcorpus, or Python with -m pipelines, wherever in the line."""
    found = []
    for line in text.splitlines():
        words = (
            shlex.split(line)
            if (line.startswith("    ") and "vlcorpus " in line) or "-m pipelines" in line
            else []
        )
        if words[:1] == ["vlcorpus"]:
            found.append(words[1:])
        elif "-m" in words and words[words.index("-m") + 1] == "pipelines":
            found.append(words[words.index("-m") + 2 :])
    return found


def check(words: list[str]) -> None:
    """Parse a command and all its options by the command line's own parser, without running it."""
    words = words[: words.index("--")] if "--" in words else words
    command: Any = typer.main.get_command(app)
    context = command.make_context("vlcorpus", [], resilient_parsing=True)
    while words and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    command.make_context("vlcorpus", list(words), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path) -> None:
    """Every command on the page has a name and options that exist."""
    found = commands(page.read_text())
    assert found or page.name == "output.md"
    for words in found:
        check(words)


def test_a_wrong_command_is_noticed() -> None:
    """The check above can fail."""
    with pytest.raises(Exception, match=r"No such option"):
        check(["build", "x", "--nonsense"])
    with pytest.raises(AssertionError):
        check(["bild", "x"])


def test_recipes() -> None:
    """Every recipe in the documentation parses; parts of one are completed with a source."""
    blocks = re.findall(r"```yaml\n(.*?)```", "".join(page.read_text() for page in PAGES), re.S)
    assert len(blocks) >= 6
    for block in blocks:
        extra = {} if re.search(r"^sources:", block, re.M) else {"sources": [{"id": "web", "path": "data"}]}
        parse(block, "the documentation", extra)


def test_every_key_is_described() -> None:
    """Each key of a recipe, of a source and of the rules stands on the page about recipes."""
    from filters.table import RuleSettings
    from pipelines.recipe.model import Recipe

    for name in [*Recipe.model_fields, *RuleSettings.model_fields]:
        assert re.search(rf"\b{name}\b", RECIPE_PAGE), name


def test_rules_stand_in_their_order() -> None:
    """The example of rules has each rule once, in the order in which they give a row its reason."""
    from filters.table import RuleSettings

    (block,) = re.findall(r"^## Rules\n.*?```yaml\n(.*?)```", RECIPE_PAGE, re.S | re.M)
    assert list(yaml.safe_load(block)["rules"]) == list(RuleSettings.model_fields)


def test_phases_stand_in_their_order() -> None:
    """The page about recipes names the phases as their table does."""
    from pipelines.phases.table import PHASES

    (listed,) = re.findall(r"The phases\s+are (.*?)\.", RECIPE_PAGE, re.S)
    assert re.findall(r"\w+", listed.replace(" and ", " ")) == [phase.name for phase in PHASES]


def test_commands_that_take_storage_options() -> None:
    """The page about recipes names each command that takes --storage-options, by the alphabet."""
    (listed,) = re.findall(r"^(`[^.]*?) know no recipe", RECIPE_PAGE, re.S | re.M)
    commands = typer.main.get_group(app).commands
    taking = [
        name
        for name, one in commands.items()
        if any("--storage-options" in option.opts for option in one.params)
    ]
    assert re.findall(r"`(\w+)`", listed) == sorted(taking)


def test_deployment_files() -> None:
    """The manifests are YAML whose entry points are commands that exist, on the image that the Dockerfile makes."""
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    words = shlex.split(job["spec"]["entrypoint"])
    check(words[words.index("pipelines") + 1 :])
    cluster = yaml.safe_load((DEPLOY / "cluster.yaml").read_text())
    assert cluster["docker"]["image"] in (DEPLOY / "Dockerfile").read_text()
    assert cluster["head_node_type"] in cluster["available_node_types"]
    constraints = (HOUSE / "constraints.txt").read_text()
    assert f"ray=={job['spec']['rayClusterSpec']['rayVersion']}\n" in constraints


def test_the_image_has_every_folder() -> None:
    """The Dockerfile copies every package and module of the project, and installs by the constraints."""
    import tomllib

    text = (DEPLOY / "Dockerfile").read_text()
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    for folder in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"COPY {folder} {folder}\n" in text or f" {folder} ./\n" in text
    assert "--constraint constraints.txt" in text
