"""An indexed file grows to 30 GiB, sparse: 45 requests for the original, others beside them, then SIGTERM."""

from __future__ import annotations

import os
import shutil
import threading
import time

from tests.cases.attack.harness import HOME, Server, add_command, list_images, report, run_shell

PORT = 8643


def main() -> None:
    folder, index = HOME / "sparse" / "class", HOME / "index_sparse"
    for path in (folder.parent, index):
        shutil.rmtree(path, ignore_errors=True)
    folder.mkdir(parents=True)
    image = folder / "a.png"
    shutil.copy(list_images(1)[0], image)
    run_shell(add_command(folder.parent, index))
    server, statuses = Server(PORT, index, log="r12.log"), list[object]()
    os.truncate(image, 30 << 30)

    def get_original() -> None:
        statuses.append(server.status("GET", "/images/1/image", timeout=45))

    for _ in range(45):
        threading.Thread(target=get_original, daemon=True).start()
    time.sleep(1)
    for address in ("/live", "/labels"):
        start = time.monotonic()
        report(address, server.status("GET", address, timeout=40), f"{time.monotonic() - start:.1f} s")
    report("originals:", statuses[:5], server.terminate(45))
    image.unlink()


if __name__ == "__main__":
    main()
