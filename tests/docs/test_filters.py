"""docs/filters.md says of every rule what filters/table.py says.

After a change of a rule, write the table anew:

    .venv/bin/python -m tests.docs.test_filters
"""

import json
from pathlib import Path
from typing import Any

from filters.table import RuleSettings

PAGE = Path(__file__).parent.parent.parent / "docs" / "filters.md"
BEGIN = "<!-- from filters/table.py: python -m tests.docs.test_filters writes it anew -->\n"
END = "<!-- end -->\n"


def table() -> str:
    """The rules as Markdown, in rule order."""
    lines = ["| rule | what it does | settings and defaults |", "|---|---|---|"]
    for rule in RuleSettings.table:
        text = " ".join(str(rule.settings.__doc__).split("\n\n")[0].split())
        fields = [
            f"`{field.alias or name}: {_default(field.default)}`"
            for name, field in rule.settings.model_fields.items()
        ]
        state = [] if rule.on else ["off"]
        state += ["always on"] if rule.always else []
        lines.append(f"| `{rule.name}` | {text} | {'; '.join([*state, *fields])} |")
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


def test_the_table_of_rules_is_that_of_the_filters() -> None:
    """Every rule, in order, with its sentence, settings and defaults."""
    assert PAGE.read_text().partition(BEGIN)[2].partition(END)[0] == table()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
