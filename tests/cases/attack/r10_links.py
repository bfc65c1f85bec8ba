"""An index whose lock or feature file is a link: what becomes of its target? A lock that is deleted under a server,
before a second server starts.
"""

from __future__ import annotations

from tests.cases.attack.harness import HOME, Server, copy_index, report, verify

PORTS = (8640, 8641)


def linked_files() -> None:
    target = HOME / "precious.txt"
    for name in ("lock", "features-1.f32"):
        target.write_text("precious data\n" * 1000)
        index = copy_index("index_links")
        (index / name).unlink(missing_ok=True)
        (index / name).symlink_to(target)
        try:
            server = Server(PORTS[0], index, log="r10.log")
        except RuntimeError as error:
            report(f"{name} -> a file of 14,000 bytes:", str(error)[-200:], target.stat().st_size, "bytes left")
            continue
        started = target.stat().st_size
        status = server.add()
        report(f"{name} -> a file of 14,000 bytes: after `serve` {started}, after an addition ({status})",
               target.stat().st_size, target.read_bytes()[:8], server.terminate())  # fmt: skip


def deleted_lock() -> None:
    index = copy_index("index_links")
    first = Server(PORTS[0], index, log="r10a.log")
    (index / "lock").unlink()
    second = Server(PORTS[1], index, log="r10b.log")
    report("lock deleted, two servers, additions:", [(first.add(), second.add()) for _ in range(6)])
    report(first.terminate(), second.terminate(), verify(index))


if __name__ == "__main__":
    linked_files()
    deleted_lock()
