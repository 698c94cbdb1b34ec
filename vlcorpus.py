"""vlcorpus from Python: build a corpus, open one, and look at what is in it (docs/python.md).

    import vlcorpus

    corpus = vlcorpus.build("recipe.yaml", out="corpus")
    corpus.funnel()["web"].kept
    for example in corpus.samples(split="train"):
        example.sample.views[0].turns, example.image()

What a person can mend is raised as `vlcorpus.Error`, whose text is one sentence.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from schemas.errors import VlcorpusError as Error

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads
    from PIL import Image

    from pipelines.progress import Reporter
    from pipelines.recipe.load import Given
    from pipelines.recipe.model import Recipe
    from pipelines.runs import Options as Engine
    from schemas.manifest import Funnel, Manifest
    from schemas.sample import Sample

__all__ = ["Corpus", "Engine", "Error", "Example", "Recipe", "build", "schema"]


def build(
    recipe: "Given",
    out: str | os.PathLike[str] | None = None,
    engine: "str | Engine" = "local",
    workers: int | None = None,
    progress: "bool | Reporter" = True,
    **settings: Any,
) -> "Corpus":
    """Builds a corpus, doing only what is not done yet, and returns it.

    `recipe` is the path of a YAML file, a mapping, a `Recipe`, or inputs (paths of tars, folders, Parquet files or
    globs) that recipes/default.yaml is applied to. `settings` are top-level keys of a recipe that stand above its
    own, such as `languages=["en"]` or `sample=0.1`. `engine` is inline, local, ray or beam, or an `Engine` with more
    to say. `progress` says whether progress and the funnel are printed.

    Raises `Error`: the recipe is wrong, a source cannot be read, too many rows are in quarantine, the folder is in
    use or holds something else, input shards are damaged.
    """
    from pipelines import runs
    from pipelines.progress import Reporter, reporter_for
    from pipelines.recipe import load as recipes

    extra = {**settings, "out": os.fspath(out)} if out is not None else settings
    options = _options(engine, workers)
    reporter = progress if not isinstance(progress, bool) else reporter_for() if progress else Reporter()
    layout = runs.run(recipes.load(recipe, extra), "card", options, reporter)
    return Corpus.open(layout.out, layout.options)


def _options(engine: "str | Engine", workers: int | None) -> "Engine":
    """Returns the options of an engine; InputError where `workers` stands beside an `Engine`, which has its own."""
    from pipelines.runs import Options

    if not isinstance(engine, Options):
        return Options(engine, workers)
    if workers is not None:
        raise InputError("workers stands beside an Engine: say Engine(…, workers=…)")
    return engine


def schema() -> dict[str, Any]:
    """Returns the JSON Schema of recipes."""
    from pipelines.recipe.model import Recipe

    return Recipe.model_json_schema()


@dataclass(frozen=True, slots=True)
class Example:
    """A sample with the bytes of its images, as they are stored."""

    sample: "Sample"
    images: tuple[bytes, ...]

    def image(self, number: int = 0) -> "Image.Image":
        """Returns one image, decoded; RowError where its bytes cannot be."""
        from pipelines.show.gallery import opened

        return opened(self.images[number])[1]


class Corpus:
    """A finished corpus on disk or on an object store. It is read when it is asked, never changed."""

    def __init__(self, folder: str, manifest: "Manifest", storage_options: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self._options = dict(storage_options)

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
    ) -> "Corpus":
        """Returns the corpus in `folder`.

        Raises InputError where there is no folder, none that holds a corpus, or one that is not finished;
        VerifyError where its manifest is damaged.
        """
        from pipelines.opening import open_manifest

        path = os.fspath(folder)
        return cls(path, open_manifest(path, storage_options), storage_options or {})

    def funnel(self) -> "dict[str, Funnel]":
        """Returns what became of the rows of each source, by its id."""
        return dict(self.manifest.funnel)

    def decisions(self) -> "pads.Dataset":
        """Returns one row for each input row: kept, dropped with its reason, or quarantined. Read lazily."""
        return self._table("decisions")

    def signals(self) -> "pads.Dataset":
        """Returns all that was measured, one row for each input row. Read lazily."""
        return self._table("signals")

    def sql(self, query: str) -> "pa.Table":
        """Returns the answer of DuckDB to a query over the tables decisions, signals, clusters and scores.

        Raises duckdb.Error where the query is wrong, InputError where work/ was removed.
        """
        import duckdb

        from pipelines.opening import tables

        with duckdb.connect() as connection:
            for name, dataset in tables(self.folder, self._options).items():
                connection.register(name, dataset)
            return connection.sql(query).to_arrow_table()

    def samples(
        self, split: str | None = None, task: str | None = None, source: str | None = None
    ) -> Iterator[Example]:
        """Yields the samples with their images in the order of the shards, all or those of one kind.

        Of a `task` come the samples that have a view of it, with all their views.

        Raises InputError where a shard has no index, or an image is not the one that its sample describes.
        """
        from pipelines.opening import check_images, shards
        from pipelines.show.inspect import samples

        groups = {count.group for count in self.manifest.views if task in (None, count.task)}
        for path in shards(self.folder, self.manifest, (split, groups, source)):
            for shown in samples(path, None, self._options):
                if shown.sample is None:
                    raise InputError(
                        f"{path} is no shard of a corpus: its index is missing; verify() says more"
                    )
                if task is not None and task not in shown.sample.tasks:
                    continue
                check_images(path, shown.sample, shown.images)
                yield Example(shown.sample, shown.images)

    def verify(
        self, work: bool = False, engine: "str | Engine | None" = None, workers: int | None = None
    ) -> list[str]:
        """Returns one sentence for each thing that differs from the manifest; none where all is well.

        With `work` also one for each thing below work/ (receipts, signals, clusters, scores, decisions) that does not
        go with the rest. `engine` and `workers` say what reads the shards, as in `build`; without them this process
        does; the sentences stay the same. Raises VerifyError where work/ was removed.
        """
        from pipelines import runs
        from pipelines.audit.verify import verify
        from pipelines.progress import Reporter

        options = _options(engine or runs.reader(workers), workers)
        with runs.engine_for(options, Reporter()) as made:
            return verify(self.folder, self._options, work, made)

    def unchecked(self) -> list[str]:
        """Returns what `verify` cannot check where work/ was removed or files are links, one sentence each."""
        from pipelines.audit.verify import unchecked

        return unchecked(self.folder, self._options)

    def __repr__(self) -> str:
        rows = sum(funnel.rows for funnel in self.manifest.funnel.values())
        count = sum(count.samples for count in self.manifest.samples)
        return f"Corpus({self.folder!r}: {count:,} samples from {rows:,} rows)"

    def _repr_html_(self) -> str:
        from pipelines.show.notebook import corpus_html

        return corpus_html(self.folder, self.manifest, self.samples())

    def _table(self, name: str) -> "pads.Dataset":
        from pipelines.opening import tables

        return tables(self.folder, self._options)[name]


def __getattr__(name: str) -> Any:
    """Loads what a notebook names but `import vlcorpus` need not pay for."""
    if name == "Recipe":
        from pipelines.recipe.model import Recipe

        return Recipe
    if name == "Engine":
        from pipelines.runs import Options

        return Options
    raise AttributeError(f"module 'vlcorpus' has no attribute {name!r}")
