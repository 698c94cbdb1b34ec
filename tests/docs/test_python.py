"""docs/python.md does what it says."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.crawls import demo

HOUSE = Path(__file__).parent.parent.parent


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every example on the page runs, one after the other, in a folder that holds the demo crawl and recipes."""
    shutil.copytree(HOUSE / "recipes", tmp_path / "recipes")
    demo(tmp_path / "demo", 60, 30)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (HOUSE / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) >= 7
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, example {number + 1}", "exec"), names)
    assert names["corpus"].verify() == []
    assert names["english"].funnel()["web"].kept < names["again"].funnel()["web"].kept
    assert names["dropped"].num_rows > 0
    assert "did you mean languages" in capsys.readouterr().out
