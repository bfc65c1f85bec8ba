"""docs/commands.md is what docs/commands.py writes now."""

from __future__ import annotations

import runpy

from tests.helpers.documents import ROOT


def test_the_page_of_commands_is_current() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "commands.py"))
    text = "\n".join(script["commands_page"]())
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == text, "run `python docs/commands.py`"
    assert "### alexnet index duplicates" in text
    assert "| `--crops <1\\|10>` | Crops per image" in text
