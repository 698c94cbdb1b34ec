"""The command `vlcorpus`: at import only what its help needs; each command imports what it runs."""

import errno
import os
import sys
from typing import Annotated

import typer

from pipelines.cli import build, completion, corpus, fetch, init, model, options, synth
from pipelines.cli.options import Group
from schemas.errors import VlcorpusError
from schemas.plain import say

INTERRUPTED = 130
"""The exit code that typer makes of Ctrl-C."""

app = typer.Typer(
    cls=Group,
    help="Clean image-text corpora by Qwen-VL's recipe: the same bytes on one machine, on Ray and on Beam.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(init.app)
app.add_typer(build.app)
app.add_typer(fetch.app)
app.add_typer(corpus.app)
app.add_typer(model.app)
app.add_typer(completion.app)
app.add_typer(synth.app, name="synth")


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        say(f"vlcorpus {version('vlcorpus')}")
    except PackageNotFoundError as error:
        raise VlcorpusError(
            "vlcorpus runs from its folder and is not installed: run `make install`"
        ) from error
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 1, never a traceback."""
    completion.prepare()
    arguments = sys.argv[1:]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    # what follows is the Beam runner's business
    options.runner_options[:] = arguments[at + 1 :]
    try:
        app(args=arguments[:at], prog_name="vlcorpus")
    except VlcorpusError as error:
        say(*f"error: {error}".split("\n"), to=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _say_stopped()
        raise
    except KeyboardInterrupt:  # before typer's own code runs
        _say_stopped()
        sys.exit(INTERRUPTED)
    except OSError as error:
        # what is written has a name, but for the output; a store's failures are sentences already
        if error.filename is not None or error.errno not in _UNPRINTED:
            raise
        # else Python would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        say(f"error: cannot print: {os.strerror(error.errno).lower()}", to=sys.stderr)
        sys.exit(1)


_UNPRINTED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _say_stopped() -> None:
    say("stopped; run the same command again to go on", to=sys.stderr)
