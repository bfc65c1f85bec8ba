"""`alexnet demo`: the bundled network and its index, served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alexnet.cli.options import HomeOption


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    home: HomeOption = Path("demo"),
) -> None:
    """Serve the bundled solar-cell network with an index of the 2,624 ELPV images."""
    from alexnet.demo import run_demo

    run_demo(host, port, home, typer.echo)
