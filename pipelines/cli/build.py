"""The commands that build a corpus: all phases, one phase, or a dry run of the decisions."""

import inspect

import typer

from pipelines.cli.options import (
    Address,
    BadShards,
    DryRun,
    Engines,
    Inputs,
    Json,
    Kind,
    Languages,
    Out,
    Quarantine,
    RecipePath,
    RemovedList,
    Sample,
    VerdictFile,
    Workers,
    recipe_keys,
    runner_options,
)
from pipelines.engines import EngineName
from pipelines.phases.table import PHASES, Phase

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
    removed: RemovedList = None,
    kind: Kind = "auto",
    address: Address = None,
    verdicts: VerdictFile = None,
    as_json: Json = False,
) -> None:
    """Build a corpus: every phase that is not done yet."""
    import vlcorpus
    from pipelines.progress import reporter_for
    from pipelines.recipe import load as recipes

    recipe = recipes.load(
        inputs, recipe_keys(out, language, sample, max_quarantine, max_bad_shards, removed), kind
    )
    how = vlcorpus.Engine(engine, workers, address, verdicts, runner_options)
    vlcorpus.build(recipe, engine=how, progress=reporter_for(as_json))


def _command(phase: Phase) -> None:
    """Makes a command of one phase; the phases before it run where they are not done."""

    def command(
        recipe: RecipePath,
        out: Out = None,
        language: Languages = None,
        removed: RemovedList = None,
        engine: Engines = EngineName.local,
        workers: Workers = None,
        address: Address = None,
        verdicts: VerdictFile = None,
        as_json: Json = False,
        dry_run: DryRun = False,
    ) -> None:
        from pipelines import runs
        from pipelines.progress import reporter_for
        from pipelines.recipe import load as recipes

        loaded = recipes.load(recipe, recipe_keys(out, language, removed=removed))
        options = runs.Options(engine, workers, address, verdicts, runner_options)
        runs.run(loaded, phase.name, options, reporter_for(as_json), dry_run)

    signature = inspect.signature(command)
    if not phase.rehearse:
        given = [one for one in signature.parameters.values() if one.name != "dry_run"]
        signature = signature.replace(parameters=given)
    vars(command)["__signature__"] = signature
    app.command(phase.name, help=phase.summary)(command)


for _phase in PHASES:
    _command(_phase)
