import ast
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from pipelines.show.terminal import Terminal

ROOT = Path(__file__).parents[3]
ROOMS = ("filters", "model", "pipelines", "schemas", "synth")
EVIL = "a\x1b[31mred\x07 \u202egnp.exe [bold]x[/bold] :smile:"

# what is printed there is no data: a shell's completion script; the prompt of a chat
SPARED = {("pipelines/cli/completion.py", "print"), ("model/chat.py", "print")}


def drawn(what: object) -> str:
    console = Terminal(file=io.StringIO(), width=100, force_terminal=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table() -> Table:
    found = Table("name", EVIL, title=EVIL)
    found.add_row(EVIL, "b")
    return found


@pytest.mark.parametrize("what", [EVIL, Text(EVIL), table()], ids=["text", "rich text", "table"])
def test_what_is_drawn_holds_nothing_that_a_terminal_obeys(what: object) -> None:
    """Text of data is drawn as it stands: no escape, no turn of direction, no markup of rich's, no emoji name."""
    found = drawn(what)
    assert not set(found) & {"\x1b", "\x07", "\u202e"}
    assert "\\u001b" in found
    assert "[bold]" in found
    assert ":smile:" in found


def test_a_line_of_data_is_one_line() -> None:
    """A name with a line end cannot begin a line of its own."""
    assert drawn("a\nb").count("\n") == 1


def calls() -> Iterator[tuple[str, str, int]]:
    """Every call in the code by which something may reach a terminal."""
    for path in sorted(
        [*(one for room in ROOMS for one in (ROOT / room).rglob("*.py")), ROOT / "vlcorpus.py"]
    ):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            what = ast.unparse(node.func)
            raw = what.startswith(("sys.stdout.write", "sys.stderr.write", "logging.StreamHandler"))
            if raw or what in ("print", "Console", "typer.echo", "click.echo", "logging.basicConfig"):
                yield name, what, node.lineno


def test_nothing_is_printed_past_the_one_function() -> None:
    """Whatever prints goes through `say` or a `Terminal`: neither print nor a console of rich's own is called."""
    allowed = {*SPARED, ("model/journal.py", "Console")}
    past = [f"{name}:{line}: {what}" for name, what, line in calls() if (name, what) not in allowed]
    assert past == []
    assert {(name, what) for name, what, _ in calls()} == allowed
