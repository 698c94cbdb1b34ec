"""pipelines/fetch/pulse.py: how downloads stand while they are under way."""

import re
from pathlib import Path

import pytest

from pipelines.fetch import pulse
from pipelines.fetch.pulse import Pulse
from pipelines.progress import Meter
from pipelines.recipe.load import for_lists
from pipelines.runs import Options, run
from tests.pipelines.fetch.fetching import QUICK, write_list
from tests.pipelines.fetch.hostile import Server


class _Seen(Meter):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def live(self, text: str) -> None:
        super().live(text)
        self.texts.append(self.figures())


def test_a_fetch_says_how_it_stands(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and bytes a second, what came, hosts open and the time left, before any task is done."""
    monkeypatch.setattr(pulse, "_SECONDS", 0.1)
    server.delay = 0.1
    urls = [server.url(f"/img/{number}") for number in range(60)]
    settings = {**QUICK, "per_host": 2, "shard_rows": 15, "task_shards": 2, "robots": False}
    recipe = for_lists([write_list(tmp_path / "l.parquet", urls)], str(tmp_path / "raw"), settings)
    seen = _Seen()
    run(recipe, "fetch", Options("inline"), seen)
    form = re.compile(r"[\d,]+ images/s  [\d.]+ MB/s  100\.0 % came  [12] hosts? open  \d+ s left")
    assert any(form.search(text) for text in seen.texts), seen.texts


def test_figures_in_words() -> None:
    """Tasks are added up; before the first answer there is no share and no time left."""
    both = Pulse(50, 40, 2_000_000, 3)
    both.add(Pulse(50, 50, 2_000_000, 1))
    assert both.text(10, 1000).endswith("4 hosts open  2 min left")
    assert both.text(10, 200) == "9 images/s  0.4 MB/s  90.0 % came  4 hosts open  10 s left"
    assert Pulse().text(10, 200) == "0 images/s  0.0 MB/s"
