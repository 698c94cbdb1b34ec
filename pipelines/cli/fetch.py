"""The command that downloads the images of lists of URLs, by a recipe or without one."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipelines.cli.options import (
    Address,
    Engines,
    Json,
    StorageOptions,
    Workers,
    runner_options,
)
from pipelines.engines import EngineName
from schemas.errors import InputError
from schemas.plain import plain

if TYPE_CHECKING:
    from pipelines.recipe.model import Recipe

app = typer.Typer()

_OPTIONS: Final = {"allow_addresses": "--allow-address"}
"""The options of settings that are called otherwise."""


@app.command()
def fetch(
    metadata: Annotated[
        list[str], typer.Argument(help="lists of URLs (Parquet, CSV, TSV, JSONL, txt), or a recipe")
    ],
    out: Annotated[str | None, typer.Option(help="folder for raw shards and status/, local or s3://")] = None,
    name: Annotated[
        str | None, typer.Option("--list", help="whose lists they are: laion-2b-en, cc12m, …")
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="ask again for what failed for a reason that may have passed"),
    ] = False,
    allow_address: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="a network that is allowed though not public")
    ] = None,
    user_agent: Annotated[
        str | None, typer.Option(metavar="TEXT", help="the software, as hosts are told")
    ] = None,
    contact: Annotated[str | None, typer.Option(metavar="TEXT", help="whom hosts may write to")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=4096, help="open downloads a worker")] = None,
    deadline: Annotated[
        float | None, typer.Option(min=0.001, max=86_400, help="seconds a URL, with redirects and retries")
    ] = None,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
    storage_options: StorageOptions = None,
) -> None:
    """Download the images of lists of URLs; a recipe's lists go into its corpus."""
    from pipelines import runs
    from pipelines.progress import reporter_for

    settings = {
        "list": name,
        "allow_addresses": allow_address,
        "user_agent": user_agent,
        "contact": contact,
        "concurrency": concurrency,
        "deadline": deadline,
    }
    given = {key: value for key, value in settings.items() if value not in (None, [])}
    recipe = _recipe(metadata, out, given, storage_options)
    how = runs.Options(engine, workers, address, None, runner_options, retry_failed)
    runs.run(recipe, "fetch", how, reporter_for(as_json))


def _recipe(
    metadata: list[str], out: str | None, given: dict[str, Any], options_file: str | None
) -> "Recipe":
    """The recipe that is given, or one for the lists that are. Raises InputError for words that do not go together."""
    from pipelines.recipe import load as recipes

    options = recipes.storage_options(options_file)
    among = next((one for one in metadata if one.endswith((".yaml", ".yml"))), None)
    if among is None:
        if out is None:
            raise InputError("say where the raw shards go: give --out DIR")
        _check(given)
        return recipes.for_lists(metadata, out, given, options)
    if len(metadata) > 1:
        raise InputError(f"{plain(among)}: a recipe names its own lists: give it alone, or lists alone")
    if options:
        raise InputError("with a recipe, storage_options stand there: leave --storage-options")
    if given:
        raise InputError(
            f"with a recipe, fetch takes its settings from there: leave {', '.join(given)} to the block `fetch` of "
            "the source"
        )
    return recipes.load(among, {"out": out} if out else None)


def _check(settings: dict[str, Any]) -> None:
    """InputError where a setting is wrong, by the name of its option."""
    from pydantic import ValidationError

    from pipelines.fetch.settings import FetchSettings

    try:
        FetchSettings.model_validate(settings)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        option = _OPTIONS.get(name) or f"--{name.replace('_', '-')}"
        raise InputError(f"{option}: {problem['msg'].removeprefix('Value error, ')}") from None
