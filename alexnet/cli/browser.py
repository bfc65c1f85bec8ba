"""Open an address in the user's browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

OpenPageOption = Annotated[bool, typer.Option("--open", help="Open the web page in the browser.")]
OpenReportOption = Annotated[bool, typer.Option("--open", help="Open the report in the browser.")]


def open_in_browser(url: str) -> None:
    """Open an address in the browser; if there is none, say so on standard error."""
    if not webbrowser.open(url):
        typer.echo(f"no browser found: open {url} yourself", err=True)
