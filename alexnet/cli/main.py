"""The entry point of the program. Signals are handled before the rest is imported, which takes a while."""

from __future__ import annotations

import sys

from alexnet.installation import exit_if_damaged

SERVING = ("serve", "demo")


def main() -> None:
    """Run a command."""
    exit_if_damaged()
    if sys.argv[1:2] and sys.argv[1] in SERVING:
        from server.signals import Signals

        Signals().install()
    from alexnet.cli.app import main

    main()


if __name__ == "__main__":
    main()
