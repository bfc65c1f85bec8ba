"""The HTML parts of a report: page, tables, figures for light and dark, cards of images. They load no files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from model.artifacts.intervals import Interval, format_interval
from model.figures import save_figure
from training.publish.figures import themed

THUMBNAIL_SIDE = 192
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1a1a1a; --faint: #62666d; --line: #dcdfe4; --field: #f4f5f7;
  --true: #d6409f; --other: #4c78a8; --warn: #8a5a00; --warn-back: #fff6e0 }
@media (prefers-color-scheme: dark) { :root { --back: #16181c; --text: #e6e6e6; --faint: #a2a8b1; --line: #343941;
  --field: #22262c; --true: #e26ab4; --other: #7aa6d6; --warn: #ffd280; --warn-back: #33290f } }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem;
  color: var(--text); background: var(--back) }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem }
.kind { color: var(--faint); margin: .2rem 0 1.4rem }
.result { font-size: 1.6rem; line-height: 1.3; margin: 0 0 .4rem } .result b { font-weight: 650 }
a { color: var(--other) } .faint { color: var(--faint) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 1.2rem 0 }
dt { color: var(--faint) } dd { margin: 0; overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums }
td, th { border-bottom: 1px solid var(--line); padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: top;
  white-space: nowrap } td:first-child { white-space: normal; min-width: 9rem }
th { color: var(--faint); font-weight: 500 } td.number, th.number { text-align: right }
img { max-width: 100%; height: auto } picture img { border-radius: 6px }
pre, code { font: .85rem/1.5 ui-monospace, monospace }
pre { background: var(--field); border-radius: 6px; overflow-x: auto; padding: .7rem 1rem; margin: .5rem 0 }
pre.command { user-select: all; cursor: copy; white-space: pre-wrap; overflow-wrap: anywhere }
.warning { background: var(--warn-back); color: var(--warn); border-radius: 6px; padding: .5rem .9rem; margin: .5rem 0;
  overflow-wrap: anywhere }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1.4rem 1rem }
.card img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 6px; display: block }
.card p { margin: .35rem 0; text-align: center; line-height: 1.3; overflow-wrap: anywhere }
.card .file { color: var(--faint); font-size: .78rem; margin-top: .5rem }
.bar { position: relative; font-size: .78rem; line-height: 1.3; margin: .2rem 0; padding-bottom: 5px }
.bar span { display: flex; justify-content: space-between; gap: .6rem } .bar i { position: absolute; left: 0; bottom: 0;
  height: 4px; background: var(--other); border-radius: 2px; min-width: 1px } .bar.true i { background: var(--true) }
.bar.true { font-weight: 600 } .bar span span { white-space: nowrap }
details { margin: 1rem 0 } summary { cursor: pointer }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem }
  .cards { grid-template-columns: repeat(2, 1fr) } .result { font-size: 1.3rem } }
"""


class Guess(NamedTuple):
    """One of the most probable classes of an image."""

    name: str
    probability: float
    is_true: bool


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>{"".join(body)}</html>\n'
    )


def section(heading: str, content: str) -> str:
    """A section with a heading; nothing if it has no content."""
    return f"<section><h2>{_text(heading)}</h2>{content}</section>" if content else ""


def details(summary: str, content: str) -> str:
    """Content that is shown on a click."""
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; `kind`: its class in the style."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{_text(text)}</p>"


def command(text: str) -> str:
    """A command that one click selects."""
    return f'<pre class="command">{_text(text)}</pre>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values as plain text; those without a value are left out."""
    rows = "".join(f"<dt>{_text(name)}<dd>{_text(value)}" for name, value in pairs if value)
    return f"<dl>{rows}</dl>"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text, without the columns in which every cell is empty; nothing without rows.

    Columns of numbers are right-aligned.
    """
    kept = [column for column in range(len(titles)) if any(row[column] for row in rows)]
    numbers = {column for column in kept if all(_is_number(row[column]) for row in rows)}

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = {column: ' class="number"' if column in numbers else "" for column in kept}
        return "".join(f"<{tag}{kinds[column]}>{_text(row[column])}" for column in kept)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", titles)}</tr>{body}</table></div>' if rows else ""


def _text(text: str) -> str:
    """Plain text as HTML; "%" isn't separated from its number."""
    return escape(text).replace(" %", "&nbsp;%")


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").removesuffix(" %").isdecimal() or not cell


def themed_figure(draw: Callable[[], Figure], description: str) -> str:
    """A figure, drawn for light and for dark pages."""
    light, dark = (_png(draw, is_dark) for is_dark in (False, True))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{_text(description)}" src="{light}"></picture>'
    )


def _png(draw: Callable[[], Figure], dark: bool) -> str:
    buffer = io.BytesIO()
    with themed(dark):
        save_figure(draw(), buffer, dpi=110)
    return _data_url("image/png", buffer.getvalue())


def card(pixels: NDArray[np.uint8], name: str, guesses: Sequence[Guess], file: str) -> str:
    """An image as in Figure 4: its true class below, the most probable classes as bars, and the name of its file."""
    buffer = io.BytesIO()
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    Image.fromarray(pixels).resize(side, Image.Resampling.BILINEAR).save(buffer, "jpeg", quality=82)
    bars = "".join(
        f'<div class="bar{" true" if guess.is_true else ""}"><span>{_text(guess.name)} <span>'
        f'{100 * guess.probability:.0f} %</span></span><i style="width:{100 * guess.probability:.1f}%"></i></div>'
        for guess in guesses
    )
    url = _data_url("image/jpeg", buffer.getvalue())
    return (
        f'<div class="card"><img alt="{_text(name)}" src="{url}"><p>{_text(name)}</p>{bars}'
        f'<p class="file">{_text(file)}</p></div>'
    )


def cards(items: Iterable[str]) -> str:
    """Cards side by side."""
    return f'<div class="cards">{"".join(items)}</div>'


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def percent(share: float | None, interval: Interval | None = None) -> str:
    """A share in percent, with its interval in parentheses; empty if it is None."""
    if share is None:
        return ""
    return f"{100 * share:.1f} %" + ("" if interval is None else f" ({format_interval(interval)})")
