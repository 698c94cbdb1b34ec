"""What the command says of itself: at once, and in whole sentences."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
import typer

from pipelines import runs
from pipelines.cli import app, main
from tests.pipelines.crawls import environment, vlcorpus

OURS = {
    "pipelines",
    "pipelines.cli",
    "pipelines.engines",
    "pipelines.phases",
    "pipelines.phases.table",
    "schemas",
    "schemas.errors",
    "schemas.plain",
}
"""Modules of ours that may be imported before a command runs, beside those of the command line itself."""

TYPER = {"annotated_doc", "annotated_types", "pydantic", "pydantic_core", "shellingham", "typer"}
TYPER |= {"typing_extensions", "typing_inspection"}
"""What typer imports."""

HEAVY = {"duckdb", "fsspec", "numpy", "pyarrow", "scipy", "torch", "yaml"}
"""Some of what commands import."""


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Every command and group: its words, itself, the context in which it is called."""
    todo: list[tuple[str, Any, Any]] = [("vlcorpus", typer.main.get_command(app), None)]
    while todo:
        words, command, above = todo.pop()
        context = command.make_context(
            words.split()[-1], [], parent=above, resilient_parsing=True, terminal_width=80
        )
        yield words, command, context
        inner = getattr(command, "commands", {})
        todo += [(f"{words} {name}", one, context) for name, one in inner.items()]


COMMANDS = list(commands())


def loaded_by(*words: str) -> set[str]:
    """The modules that a process has imported, beyond the standard library's, when the command ends."""
    code = (
        "import sys\nat_start = set(sys.modules)\nfrom pipelines.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('loaded:', *set(sys.modules) - at_start)"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    names = done.stdout.splitlines()[-1].removeprefix("loaded:").split()
    standard = sys.stdlib_module_names
    return {name for name in names if name.partition(".")[0] not in standard and name[:12] != "_sysconfigda"}


@pytest.mark.parametrize(
    "words", [("--help",), ("build", "--help"), ("--version",), ("build", "--nonsense"), ("nonsense",)]
)
def test_starts_at_once(words: tuple[str, ...]) -> None:
    """Help, version and a mistyped word import neither a library of data nor the phases."""
    found = loaded_by(*words)
    ours = {
        name
        for name in found
        if name.partition(".")[0] in ("filters", "model", "pipelines", "schemas", "synth")
    }
    assert {name for name in ours if not name.startswith("pipelines.cli.")} == OURS
    assert {name.partition(".")[0] for name in found - ours} <= TYPER


def test_completes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion, which runs at each TAB, imports what typer renders descriptions with, and no library of data."""
    monkeypatch.setenv("_VLCORPUS_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "vlcorpus build --")
    found = loaded_by()
    assert "rich" in found
    assert not found & HEAVY


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the package; folders that are not installed have none, which is a sentence."""
    assert vlcorpus("--version").stdout == f"vlcorpus {version('vlcorpus')}\n"

    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", unknown)
    monkeypatch.setattr(sys, "argv", ["vlcorpus", "--version"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert "error: vlcorpus runs from its folder and is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "command", "context"), COMMANDS, ids=[words for words, *_ in COMMANDS])
def test_whole_sentences(words: str, command: Any, context: Any) -> None:
    """At 80 columns no line of a help is cut: every sentence about a command or an option is there whole."""
    page = command.get_help(context)
    assert max(map(len, page.splitlines())) <= 80
    flowing = " ".join(page.split())
    told = [one.help for one in command.get_params(context)]
    told += [one.help for one in getattr(command, "commands", {}).values()]
    for sentence in [command.help, *told]:
        assert sentence, f"{words}: something has no help"
        assert " ".join(sentence.split()) in flowing


def test_help_in_a_pipe() -> None:
    """What a pipe gets of the list of commands has no sentence that ends in dots."""
    done = vlcorpus("--help")
    assert done.returncode == 0
    assert not re.search(r"(\.\.\.|…)$", done.stdout.partition("Options:")[2], re.M)
    assert "exit 1 and say what" in done.stdout


def test_the_list_is_whole() -> None:
    """Each command is in the list, in the order of the work, and is called by that name."""
    words = [words for words, *_ in COMMANDS]
    assert {"vlcorpus build", "vlcorpus init", "vlcorpus synth ocr", "vlcorpus completion"} <= set(words)
    listed = re.findall(r"^  ([a-z]+) ", vlcorpus("--help").stdout.partition("Commands:")[2], re.M)
    assert listed.index("init") < listed.index("build") < listed.index("measure") < listed.index("card")


def test_stopped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C says that the same command goes on, and ends with the exit code of an interrupt."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run", interrupted)
    monkeypatch.setattr(sys, "argv", ["vlcorpus", "build", "shards/00000.tar"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert "run the same command again" in capsys.readouterr().err
