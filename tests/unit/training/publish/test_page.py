"""The pieces of a report's HTML: nothing empty, and nothing that a name could break."""

from __future__ import annotations

import numpy as np

from training.publish.page import Guess, card, command, facts, section, table


def test_empty_columns_tables_and_sections_are_left_out() -> None:
    page = table(("class", "none", "images"), [("a<b", "", "1,200"), ("c", "", "7 %")])
    assert "none" not in page
    assert '<td>a&lt;b<td class="number">1,200' in page
    assert table(("class",), []) == section("Classes", "") == ""
    assert facts([("Name", "x"), ("Skipped", "")]) == "<dl><dt>Name<dd>x</dl>"


def test_text_is_escaped() -> None:
    assert command('index --data "a b" & c') == '<pre class="command">index --data &quot;a b&quot; &amp; c</pre>'
    pixels = np.zeros((256, 256, 3), np.uint8)
    page = card(pixels, "<mono>, 0 %", [Guess("<poly>", 0.75, False), Guess("<mono>, 0 %", 0.25, True)], "<1>.jpg")
    assert "<mono>" not in page
    assert "<p>&lt;mono&gt;, 0&nbsp;%</p>" in page
    assert page.index("data:image/jpeg") < page.index("<p>&lt;mono")  # the true class is below the image
    assert page.count('class="bar true"') == 1
