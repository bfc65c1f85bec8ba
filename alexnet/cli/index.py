"""`alexnet index`: build, inspect and change an index."""

from __future__ import annotations

from alexnet.cli.build_index import add, merge, sync
from alexnet.cli.change_index import compact, remove, restore
from alexnet.cli.command_groups import add_command, add_commands, new_app
from alexnet.cli.evaluate_index import evaluate
from alexnet.cli.inspect_index import draw, duplicates, export, list_images, verify

CHANGE, INSPECT = "Build and change", "Inspect"

index_app = new_app(help="Build, inspect and change an index of images.")
add_commands(index_app, CHANGE, add, sync, merge, remove, restore, compact)
add_command(index_app, list_images, "list", section=INSPECT)
add_commands(index_app, INSPECT, verify, evaluate, duplicates, draw, export)
