"""docs/fetch.md lists what pipelines/fetch has: the statuses, the settings, the names of lists.

After a change of these, write the tables anew:

    .venv/bin/python -m tests.docs.test_fetch
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from pipelines.fetch.formats import LISTS
from pipelines.fetch.settings import FetchSettings, OnArrival
from pipelines.fetch.statuses import STATUSES
from pipelines.recipe.parse import parse
from tests.docs.test_commands import check, commands

PAGE = Path(__file__).parent.parent.parent / "docs" / "fetch.md"
_BEGIN = "<!-- from pipelines/fetch/{}.py: python -m tests.docs.test_fetch writes it anew -->\n"
_END = "<!-- end -->\n"


def statuses() -> str:
    """The statuses as Markdown."""
    lines = ["| status | means | again |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {one.meaning} | {'yes' if one.again else ''} |" for name, one in STATUSES.items()
    ]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """The settings of the block `fetch` as Markdown."""
    lines = ["| setting | default | what it says |", "|---|---|---|"]
    for name, field in FetchSettings.model_fields.items():
        lines.append(f"| `{name}` | {_default(field.default)} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    if value is None or value in ("", ()):
        return ""
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


TABLES = {"statuses": statuses, "settings": settings}


def test_the_tables_are_those_of_the_code() -> None:
    """Every status with its meaning, and every setting with its default."""
    for name, table in TABLES.items():
        assert PAGE.read_text().partition(_BEGIN.format(name))[2].partition(_END)[0] == table()


def test_every_list_is_named() -> None:
    """The page names each list that the recipe may name, and no other status than there are."""
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in LISTS)
    assert all(
        f"`{{{name}: N}}`" in text or f"{name}: N" in text
        for name in OnArrival.model_fields
        if "side" in name
    )


def test_what_the_page_says_to_type_and_write() -> None:
    """Its commands and its recipe are accepted as they stand."""
    text = PAGE.read_text()
    assert commands(text)
    for words in commands(text):
        check(words)
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    parse(yaml.safe_dump(yaml.safe_load(recipe)), "docs/fetch.md")


if __name__ == "__main__":
    for name, table in TABLES.items():
        begin = _BEGIN.format(name)
        before, _, rest = PAGE.read_text().partition(begin)
        PAGE.write_text(before + begin + table() + _END + rest.partition(_END)[2])
