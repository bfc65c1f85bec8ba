"""The command `alexnet`: all commands, and errors as one line."""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError

from alexnet.cli.check import check
from alexnet.cli.classify import classify
from alexnet.cli.codes import codes_app
from alexnet.cli.demo import demo
from alexnet.cli.draw import draw
from alexnet.cli.evaluate import evaluate
from alexnet.cli.export import export
from alexnet.cli.index import index_app
from alexnet.cli.pack import pack
from alexnet.cli.pull import pull
from alexnet.cli.quantize import quantize
from alexnet.cli.report import report
from alexnet.cli.serve import serve_command
from alexnet.cli.similar import similar
from alexnet.cli.train import train
from model.exceptions import AlexNetError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train the 2012 AlexNet on your own images and serve it: classification and similarity search.",
)
for command in (train, check, classify, similar, evaluate, quantize, report, draw, export, pull, pack, demo):
    app.command()(command)
app.command(name="serve")(serve_command())
app.add_typer(index_app, name="index")
app.add_typer(codes_app, name="codes")


def main() -> None:
    """Run a command. An AlexNetError is printed as one line on standard error, with exit status 1."""
    try:
        app()
        return
    except AlexNetError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)  # noqa: T201
    except ValidationError as error:
        problem = error.errors()[0]
        print(f"error: {problem['loc'][0]}: {problem['msg']}", file=sys.stderr)  # noqa: T201
    raise SystemExit(1)


if __name__ == "__main__":
    main()
