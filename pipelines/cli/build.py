"""The commands that build a corpus: all phases, one phase, or a dry run of the decisions."""

import inspect

import typer

from pipelines.cli.options import (
    Address,
    BadShards,
    Corpus,
    DigestList,
    DryRun,
    Engines,
    HostList,
    IdList,
    Inputs,
    Json,
    KeyList,
    Kind,
    Languages,
    OnlyListed,
    Out,
    Quarantine,
    RecipePath,
    RemovedList,
    Sample,
    TokenizerPath,
    UrlList,
    VerdictFile,
    Workers,
    recipe_keys,
    runner_options,
)
from pipelines.engines import EngineName
from pipelines.phases.table import PHASES, Phase
from schemas.errors import InputError

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
    tokenizer: TokenizerPath = None,
    kind: Kind = "auto",
    address: Address = None,
    verdicts: VerdictFile = None,
    as_json: Json = False,
) -> None:
    """Build a corpus: every phase that is not done yet."""
    import vlcorpus
    from pipelines.progress import reporter_for
    from pipelines.recipe import load as recipes

    keys = recipe_keys(out, language, sample, max_quarantine, max_bad_shards, removed)
    recipe = recipes.load(inputs, keys | ({} if tokenizer is None else {"tokenizer": tokenizer}), kind)
    how = vlcorpus.Engine(engine, workers, address, verdicts, runner_options)
    vlcorpus.build(recipe, engine=how, progress=reporter_for(as_json))


@app.command()
def remove(
    folder: Corpus,
    inputs: Inputs,
    keys: KeyList = None,
    ids: IdList = None,
    urls: UrlList = None,
    hosts: HostList = None,
    sha256: DigestList = None,
    only_listed: OnlyListed = False,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Remove rows from a corpus, by the recipe that it was built with; only shards that held one are written anew."""
    from pipelines import removal, runs
    from pipelines.progress import reporter_for
    from pipelines.recipe import load as recipes

    given = {"key": keys, "id": ids, "url": urls, "host": hosts, "sha256": sha256}
    removed = removal.Removed()
    for column, path in given.items():
        if path is not None:
            removed = removed.with_(removal.read(path, only_listed, column).entries)
    if not removed:
        raise InputError(
            "say which rows to remove: give --keys, --ids, --urls, --hosts or --sha256 with a file"
        )
    recipe = recipes.load(inputs, {"out": folder})
    runs.remove(recipe, removed, runs.Options(engine, workers, address), reporter_for(as_json))


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
    if not _phase.command:
        _command(_phase)
