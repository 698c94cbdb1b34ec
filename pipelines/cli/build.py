"""The commands that build a corpus: all phases, one phase, or a dry run of the decisions."""

from typing import Annotated

import typer

from pipelines.cli.options import (
    Address,
    BadShards,
    Engines,
    Inputs,
    Json,
    Kind,
    Languages,
    Out,
    Quarantine,
    RecipePath,
    Sample,
    VerdictFile,
    Workers,
    recipe_keys,
    runner_options,
)
from pipelines.engines.names import EngineName

app = typer.Typer()


@app.command()
def build(
    inputs: Inputs,
    out: Out = None,
    language: Languages = None,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    sample: Sample = None,
    max_quarantine: Quarantine = None,
    max_bad_shards: BadShards = None,
    kind: Kind = "auto",
    address: Address = None,
    verdicts: VerdictFile = None,
    as_json: Json = False,
) -> None:
    """Build a corpus: every phase that is not done yet."""
    import vlcorpus
    from pipelines.progress import reporter_for
    from pipelines.recipe import load as recipes

    recipe = recipes.load(inputs, recipe_keys(out, language, sample, max_quarantine, max_bad_shards), kind)
    how = vlcorpus.Engine(engine, workers, address, verdicts, runner_options)
    vlcorpus.build(recipe, engine=how, progress=reporter_for(as_json))


def _phase(name: str, summary: str) -> None:
    """Make a command of one phase; the phases before it run where they are not done."""

    def command(
        recipe: RecipePath,
        out: Out = None,
        engine: Engines = EngineName.local,
        workers: Workers = None,
        address: Address = None,
        verdicts: VerdictFile = None,
        as_json: Json = False,
    ) -> None:
        from pipelines import runs
        from pipelines.progress import reporter_for
        from pipelines.recipe import load as recipes

        loaded = recipes.load(recipe, recipe_keys(out, None))
        options = runs.Options(engine, workers, address, verdicts, runner_options)
        runs.run(loaded, name, options, reporter_for(as_json))

    app.command(name, help=summary)(command)


_phase("measure", "Measure every signal of every row; earlier results are kept.")
_phase("dedup", "Find the duplicates among all measured rows.")
_phase("score", "Score the pairs that reach the clip rule.")
_phase("ground", "Find what the captions of kept pairs name, in sources that ask for it.")
_phase("compose", "Compose the samples of the kept rows.")
_phase("shard", "Write the output shards.")
_phase("card", "Write the manifest and the dataset card.")


@app.command()
def select(
    recipe: RecipePath,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be kept; write nothing")] = False,
    language: Languages = None,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Decide which rows are kept, from the signals that are there."""
    from pipelines import runs
    from pipelines.progress import reporter_for
    from pipelines.recipe import load as recipes

    loaded = recipes.load(recipe, recipe_keys(out, language))
    options = runs.Options(engine, workers, address, None, runner_options)
    runs.run(loaded, "select", options, reporter_for(as_json), dry_run)
