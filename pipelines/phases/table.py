"""The phases of a build, in their order. A new phase is one module and one line here.

The command line and the recipe read this table too, so it imports nothing of ours: what a phase runs is
named ("module:function") and loaded when it runs.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Phase:
    """A step of a build whose results lie on disk and are used again.

    `run` takes the Build and does what is not done yet; `ready` takes the recipe before anything begins and
    raises where the phase could not run; `rehearse` takes the Build and returns what `run` would decide.
    `command` is the module with the phase's command, where it has one of its own.
    `worker` is the class that writes the phase's results on the engine's workers; without one the driver
    writes them. `reads` and `writes` are folders of work/ with one file an input shard. `by_shard`: a task
    is an input shard, so a receipt is too. `texts`: its results hold texts of rows, which select blanks where a list
    removes them. `lasting` are folders of work/ with what came over the network, or a copy of a person's file: the
    phase itself takes out of them what no source has any more, and where rows were taken out of a file it stays.
    """

    name: str
    summary: str
    run: str
    worker: str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    lasting: tuple[str, ...] = ()
    by_shard: bool = True
    ready: str = ""
    rehearse: str = ""
    texts: bool = False
    command: str = ""

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of work/ whose files the phase's receipts vouch for."""
        return self.writes + self.lasting


_HERE: Final = "pipelines.phases"

PHASES: Final = (
    Phase(
        "lists",
        "Read the lists of URLs that are new or changed.",
        run=f"{_HERE}.fetch.lists:run",
        worker=f"{_HERE}.fetch.lists:Lists",
        lasting=("lists",),
        texts=True,
        by_shard=False,
    ),
    Phase(
        "fetch",
        "Download the images of lists of URLs.",
        run=f"{_HERE}.fetch.driver:run",
        worker="pipelines.fetch.worker:Fetch",
        lasting=("fetched",),
        texts=True,
        by_shard=False,
        ready=f"{_HERE}.fetch.driver:check",
        command="pipelines.cli.fetch",
    ),
    Phase(
        "render",
        "Render the pages and scenes of sources that are made, not read.",
        run=f"{_HERE}.render:run",
        worker=f"{_HERE}.render:Render",
        writes=("rendered",),
        texts=True,
    ),
    Phase(
        "split",
        "Find the parts of large annotation files.",
        run=f"{_HERE}.split:run",
        worker=f"{_HERE}.split:Split",
        writes=("parts",),
        texts=True,
        by_shard=False,
    ),
    Phase(
        "measure",
        "Measure every signal of every row; earlier results are kept.",
        run=f"{_HERE}.measure:run",
        worker=f"{_HERE}.measure:Measure",
        reads=("rendered", "parts", "verdicts"),
        writes=("signals", "further", "drafts", "annotations"),
        texts=True,
    ),
    Phase(
        "dedup",
        "Find the duplicates among all measured rows.",
        run=f"{_HERE}.dedup.driver:run",
        worker=f"{_HERE}.dedup.members:Members",
        reads=("signals", "further"),
        writes=("clusters",),
        by_shard=False,
    ),
    Phase(
        "score",
        "Score the pairs that reach the clip rule.",
        run=f"{_HERE}.score:run",
        worker=f"{_HERE}.score:Score",
        reads=("rendered", "signals", "drafts", "clusters", "scores"),
        writes=("scores",),
        ready=f"{_HERE}.score:check_scorers",
    ),
    Phase(
        "select",
        "Decide which rows are kept, from the signals that are there.",
        run=f"{_HERE}.select.driver:run",
        worker=f"{_HERE}.select.decide:Decide",
        reads=("signals", "clusters", "scores", "removed"),
        writes=("decisions", "removed"),
        by_shard=False,
        rehearse=f"{_HERE}.select.driver:rehearse",
    ),
    Phase(
        "ground",
        "Find what the captions of kept pairs name, in sources that ask for it.",
        run=f"{_HERE}.ground:run",
        worker=f"{_HERE}.ground:Ground",
        reads=("signals", "drafts", "decisions", "grounded"),
        writes=("grounded",),
    ),
    Phase(
        "compose",
        "Compose the samples of the kept rows.",
        run=f"{_HERE}.compose:run",
        worker=f"{_HERE}.compose:Compose",
        ready="pipelines.sizes:check",
        reads=("signals", "drafts", "scores", "decisions", "grounded"),
        writes=("samples",),
    ),
    Phase(
        "shard",
        "Write the output shards.",
        run=f"{_HERE}.shard:run",
        worker=f"{_HERE}.shard:WriteShard",
        reads=("rendered", "samples"),
        by_shard=False,
    ),
    Phase(
        "card",
        "Write the manifest and the dataset card.",
        run="pipelines.card.manifest:run",
        by_shard=False,
    ),
)


def phase(name: str) -> Phase:
    """Returns the phase of that name."""
    return next(one for one in PHASES if one.name == name)


def up_to(name: str) -> tuple[Phase, ...]:
    """Returns the phases from the first to the one of that name."""
    return PHASES[: PHASES.index(phase(name)) + 1]
