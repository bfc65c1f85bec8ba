"""The entry of the program. Signals are handled before the rest is imported, which takes its time."""

from __future__ import annotations

import sys

from server.signals import Signals

SERVING = ("serve", "demo")


def main() -> None:
    """Run a command."""
    if sys.argv[1:2] and sys.argv[1] in SERVING:
        Signals().install()
    from alexnet.cli.app import main

    main()


if __name__ == "__main__":
    main()
