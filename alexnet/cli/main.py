"""The entry point of the program. Signals are handled before the rest is imported, which takes a while."""

from __future__ import annotations

import signal
import sys

from alexnet.installation import exit_if_damaged

SERVING = ("serve", "demo")


def main() -> None:
    """Run a command. Ctrl-C during the imports ends it as `alexnet.cli.errors` does afterwards."""
    try:
        _start()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(128 + signal.SIGINT)


def _start() -> None:
    exit_if_damaged()
    if sys.argv[1:2] and sys.argv[1] in SERVING:
        from server.process.signals import Signals

        Signals().install()
    from alexnet.cli.app import main

    main()


if __name__ == "__main__":
    main()
