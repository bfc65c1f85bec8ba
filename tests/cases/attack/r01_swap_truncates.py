"""A rebuilt index is moved into place under a running server: does one POST /images cut rows off it?"""

from __future__ import annotations

import shutil
import time

from tests.cases.attack.harness import HOME, INDEX, Server, add_command, make_folder, report, run_shell, verify

PORT = 8630


def main() -> None:
    live, new, old = (HOME / f"index_swap_{name}" for name in ("live", "new", "old"))
    for path in (live, new, old):
        shutil.rmtree(path, ignore_errors=True)
    report(run_shell(add_command(make_folder("small", 50, b""), live)).output)
    shutil.copytree(INDEX, new)
    server = Server(PORT, live, log="r01.log")
    live.rename(old)
    new.rename(live)
    server.reload()
    time.sleep(6)
    report("after mv and SIGHUP the server has", server.get_json("/info")["index"], "(the new index: 240)")
    report("addition:", server.add(), server.terminate())
    report("new:", verify(live))
    report("old:", verify(old))


if __name__ == "__main__":
    main()
