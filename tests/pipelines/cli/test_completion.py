"""What TAB completes, typed into the shells themselves."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipelines.crawls import environment, vlcorpus

AFTER_TAB = {
    "vlcorpus verif": "vlcorpus verify ",
    "vlcorpus synth oc": "vlcorpus synth ocr ",
    "vlcorpus build --max-q": "vlcorpus build --max-quarantine ",
    "vlcorpus build x.tar --engine ra": "vlcorpus build x.tar --engine ray ",
    "vlcorpus build x.tar --kind web": "vlcorpus build x.tar --kind webdataset ",
    "vlcorpus completion fi": "vlcorpus completion fish ",
    "vlcorpus build shar": "vlcorpus build shards/",
    "vlcorpus build shards/00000.t": "vlcorpus build shards/00000.tar ",
    "vlcorpus verify shar": "vlcorpus verify shards/",
    "vlcorpus build --out shar": "vlcorpus build --out shards/",
}
"""A line, and what it is once TAB is pressed."""

START = {
    "bash": """eval "$(vlcorpus completion bash)"
PS1='ready> '
bind -x '"\\C-t": printf %s "$READLINE_LINE" > saved'
""",
    "zsh": """autoload -Uz compinit; compinit
eval "$(vlcorpus completion zsh)"
PS1='ready> '
save() { printf %s "$BUFFER" > saved }; zle -N save; bindkey '^T' save
""",
}
"""The start-up file: completion as the documentation has it, and Ctrl-T, which writes the line to a file."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with the command in bin/, and a shard whose path can be completed."""
    command = tmp_path / "bin" / "vlcorpus"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipelines "$@"\n')
    command.chmod(0o755)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.tar").touch()
    return tmp_path


def needs(shell: str) -> None:
    """Skips where the shell is not installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def variables(home: Path) -> dict[str, str]:
    """The environment of a person whose home that is."""
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    own = {
        "HOME": str(home),
        "ZDOTDIR": str(home),
        "XDG_CONFIG_HOME": str(home),
        "PATH": path,
        "TERM": "dumb",
    }
    return environment() | own


@contextmanager
def terminal(shell: str, home: Path) -> Iterator[Callable[[str], str]]:
    """An interactive shell; gives what turns a line into what it is after TAB."""
    (home / f".{shell}rc").write_text(START[shell])
    saved = home / "saved"
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [shell, "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=home,
        env=variables(home),
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""

    def wait(done: Callable[[], bool]) -> None:
        nonlocal shown
        until = time.monotonic() + 60
        while not done():
            assert time.monotonic() < until, shown.decode(errors="replace")
            if select.select([ours], [], [], 0.05)[0]:
                shown += os.read(ours, 4096)

    def completed(line: str) -> str:
        saved.unlink(missing_ok=True)
        os.write(ours, f"{line}\t\x14\x15".encode())  # TAB, Ctrl-T, and Ctrl-U, which empties the line
        wait(lambda: saved.exists() and saved.stat().st_size > 0)
        return saved.read_text()

    try:
        wait(lambda: b"ready> " in shown)
        yield completed
    finally:
        running.kill()
        running.wait()
        os.close(ours)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab(shell: str, home: Path) -> None:
    """TAB completes commands, options, names of engines and paths, from the first time it is pressed."""
    needs(shell)
    with terminal(shell, home) as completed:
        assert {line: completed(line) for line in AFTER_TAB} == AFTER_TAB


def test_tab_in_fish(home: Path) -> None:
    """The same in fish, which can be asked what it would offer."""
    needs("fish")
    words = (
        "vlcorpus completion fish | source; for line in $argv; complete --do-complete $line | head -1; end"
    )
    done = subprocess.run(
        ["fish", "--command", words, *AFTER_TAB],
        cwd=home,
        env=variables(home),
        capture_output=True,
        text=True,
    )
    offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert offered == [line.split()[-1] for line in AFTER_TAB.values()], done.stderr


@pytest.mark.parametrize("line", ["vlcorpus ", "vlcorpus train --"])
def test_a_description_is_one_line(line: str, home: Path) -> None:
    """However long the description beside a word, fish gets one line a word."""
    asked = {
        "_VLCORPUS_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
    }
    command = [sys.executable, "-m", "pipelines"]
    done = subprocess.run(command, env=variables(home) | asked, capture_output=True, text=True)
    offered = done.stdout.splitlines()
    assert len(offered) > 5
    assert all("\t" in one and " " not in one.partition("\t")[0] for one in offered), done.stdout


def test_a_shell_without_a_script() -> None:
    """Another shell is refused with the names of those that have one."""
    done = vlcorpus("completion", "tcsh")
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
