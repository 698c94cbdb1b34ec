"""Phase score as a build runs it, over shards on disk, to be timed again and again."""

import json
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from pipelines.build import Build
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import named
from pipelines.layout import Layout
from pipelines.phases.table import phase
from pipelines.progress import Reporter
from pipelines.recipe.model import Recipe
from pipelines.verdicts import Verdicts
from schemas.clip import ScorerSettings


class Phase:
    """The tars below FOLDER/in, measured, with one worker process whose scorer is loaded."""

    def __init__(self, folder: Path, settings: ScorerSettings, decode_threads: int) -> None:
        clip = {"scorers": {"default": settings.model_dump(mode="json")}, "decode_threads": decode_threads}
        self._recipe = Recipe.model_validate(
            {
                "sources": [{"id": "web", "path": str(folder / "in"), "max_quarantine": 1.0}],
                "clip": clip,
                # every row reaches the scorer: what is timed is scoring, whatever the captions are
                "rules": {"language": False, "phash": False, "clip": {"min": -1}},
            }
        )
        self._out = Path(tempfile.mkdtemp(prefix="corpus-", dir=folder))
        self._layout = Layout(str(self._out))
        self._engine = LocalEngine(1)
        self._work = Build(self._recipe, self._layout, self._engine, Reporter(), Verdicts())

    def __enter__(self) -> "Phase":
        self._engine.open(self._layout)
        self._work.discover()
        named(phase("measure").run)(self._work)
        self.run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()
        shutil.rmtree(self._out)

    def forget(self) -> None:
        """Remove the scores; the worker and its model stay."""
        shutil.rmtree(self._out / "work" / "scores", ignore_errors=True)
        self._work.receipts("score").forget_all_but(())

    def run(self) -> None:
        """The phase, from nothing."""
        named(phase("score").run)(self._work)

    @property
    def scored(self) -> int:
        """Pairs that the last run scored."""
        return sum(receipt["scored"] for receipt in self._work.results["score"].values())


TINY: Any = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "head_width": 32, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def write_model(name: str, folder: Path) -> str:
    """local-dir:… of an architecture with random weights; `tiny` is one that costs next to nothing."""
    folder = folder / name.replace("/", "-")
    folder.mkdir(parents=True)
    config = TINY if name == "tiny" else open_clip.get_model_config(name)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
