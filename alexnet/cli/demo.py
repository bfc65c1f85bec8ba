"""`alexnet demo`: serve a bundled network and its index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet.cli.browser import OpenPageOption, open_in_browser


def demo(
    data: Annotated[
        Literal["photos", "elpv"],
        typer.Option(
            help="photos: 1,000 photographs, included; elpv: 2,624 images of solar cells (needs the extra `demo`)."
        ),
    ] = "photos",
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on.")] = 8000,
    open_page: OpenPageOption = False,
    home: Annotated[
        Path, typer.Option(envvar="ALEXNET_HOME", metavar="FOLDER", help="Folder for the network and index: 270 MB.")
    ] = Path("demo"),
) -> None:
    """Serve a bundled network with an index of images.

    Downloads nothing. The network `photos` recognizes 621 classes, from abacus to yorkshire terrier; `elpv` recognizes
    defects of solar cells.
    """
    from alexnet.demo import run_demo

    run_demo(data, host, port, home, typer.echo, open_in_browser if open_page else None)
