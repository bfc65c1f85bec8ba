"""`make prove-images`: the Dockerfile's stages without Docker, in fresh Debian roots; each is then run.

Reads the Dockerfile itself, so that nothing can differ: RUN is a command in the root (chroot), COPY a copy, USER,
WORKDIR and ENV are kept for what follows. The finished root is mounted read-only, with a tmpfs on /tmp; as the stage's
user a server runs in it with the bundled network and is asked, or a small network is trained. Needs root, debootstrap,
and Debian's and Python's packages. A build argument is a variable of the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).parents[1]
RELEASE = "bookworm"
LIMIT = 600e6
"""Bytes of the cpu stage's root."""
NOT_IN_SLIM = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
"""What debootstrap brings and Debian's own slim image leaves out."""
HOST_FILES = ("/proc", "/dev", "/etc/resolv.conf", "/etc/pip.conf", "/etc/xdg/pip", "/opt/wheels", "/opt/pypi")
"""How this machine reaches its packages; a build sees them, and can't change them. The result doesn't have them."""
CERTIFICATES, INSIDE = Path("/etc/ssl/certs/ca-certificates.crt"), "run/certificates.crt"
ALONE = "PROVE_IMAGES_ALONE"


def say(*words: object) -> None:
    """On standard output, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Stage:
    """A stage of the Dockerfile, and what its lines have set so far."""

    def __init__(self, name: str, base: str) -> None:
        self.name, self.base = name, base
        self.lines: list[tuple[str, str]] = []
        self.folder, self.user = "/", "root"
        self.variables: dict[str, str] = {}
        self.command: list[str] = []


def stages(text: str) -> dict[str, Stage]:
    """The stages of a Dockerfile by name, in order."""
    result: dict[str, Stage] = {}
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            result[name] = Stage(name, base)
        elif line and not line.startswith("#"):
            list(result.values())[-1].lines.append((word, rest))
    return result


def build(name: str, every: dict[str, Stage], work: Path) -> Path:
    """The root of a stage, made from that of its base, unless it is there."""
    stage, root = every[name], work / name
    made, place = root.exists(), work / f".{name}"
    base = None
    if stage.base in every:
        base, before = build(stage.base, every, work), every[stage.base]
        stage.folder, stage.user, stage.variables = before.folder, before.user, dict(before.variables)
    if not made:
        shutil.rmtree(place, ignore_errors=True)
        begin(base, place)
    say(f"== {name}{', made before' if made else ''}")
    stage.command = []
    for word, rest in stage.lines:
        if not made or word not in ("RUN", "COPY"):
            say(word, rest)
            apply(stage, word, rest, root if made else place, every, work)
    if not made:
        place.rename(root)
    return root


def begin(base: Path | None, place: Path) -> None:
    """A copy of the base's root, or what Debian's own slim image has."""
    if base is not None:
        run("cp", "-a", base, place)
        return
    run("debootstrap", "--variant=minbase", RELEASE, place)
    for left_out in NOT_IN_SLIM:
        shutil.rmtree(place / left_out, ignore_errors=True)


def apply(stage: Stage, word: str, rest: str, root: Path, every: dict[str, Stage], work: Path) -> None:
    """One line."""
    if word == "RUN":
        with_host_files(root, lambda: enter(stage, root, ["/bin/sh", "-c", rest]))
    elif word == "COPY":
        copy(stage, shlex.split(rest), root, every, work)
    elif word == "WORKDIR":
        stage.folder = rest
        (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif word == "ENV":
        stage.variables |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    elif word == "ARG":
        name, default = rest.split("=")
        stage.variables[name] = os.environ.get(name, default)
    elif word in ("ENTRYPOINT", "CMD"):
        stage.command += json.loads(rest)
    elif word == "USER":
        stage.user = rest
    elif word not in ("EXPOSE", "HEALTHCHECK"):
        raise SystemExit(f"unknown Dockerfile instruction {word}: teach it to this script")


def copy(stage: Stage, words: list[str], root: Path, every: dict[str, Stage], work: Path) -> None:
    """Sources of the source tree, or of another stage, to a place in the root."""
    *sources, target = words
    there = SOURCE
    if sources[0].startswith("--from="):
        there = build(sources.pop(0).removeprefix("--from="), every, work)
    place = root / (Path(stage.folder) / target).relative_to("/")
    for source in sources:
        run("mkdir", "-p", place if target.endswith("/") else place.parent)
        run("cp", "-a", "--no-preserve=ownership", there / source.lstrip("/"), place)


def with_host_files(root: Path, work: Callable[[], None]) -> None:
    """Do the work while the root sees how this machine reaches its packages."""
    mounted = []
    places = {name: name.lstrip("/") for name in HOST_FILES} | {str(CERTIFICATES): INSIDE}
    try:
        for name, inside in places.items():
            if not Path(name).exists():
                continue
            place = root / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if Path(name).is_dir() else place.touch()
            run("mount", "--bind", name, place)
            mounted.append(place)
            if name not in ("/proc", "/dev"):
                run("mount", "-o", "remount,bind,ro", place)
        work()
    finally:
        for place in reversed(mounted):
            run("umount", place)
        (root / INSIDE).unlink(missing_ok=True)


def enter(stage: Stage, root: Path, command: list[str]) -> None:
    """A command in the root, as root, with the stage's variables and folder."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    variables = {"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"} | kept | stage.variables
    variables |= {"PATH": f"{stage.variables.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}
    variables |= {"PIP_CERT": f"/{INSIDE}", "SSL_CERT_FILE": f"/{INSIDE}"}
    inside = ["chroot", str(root), "/usr/bin/env", "--chdir", stage.folder, *command]
    subprocess.run(inside, env=variables, check=True)


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


def size(root: Path) -> int:
    """Bytes of the files of a root."""
    said = subprocess.run(
        ["du", "--summarize", "--bytes", "--one-file-system", str(root)], capture_output=True, check=True
    )
    return int(said.stdout.split()[0])


def inside(stage: Stage, root: Path, data: Path, more: list[str], data_mode: str) -> list[str]:
    """The stage's command with `more`, as its user; only a tmpfs on /tmp can be written, and /data if `rw`."""
    inner = shlex.join(["env", "HOME=/data", *(f"{n}={v}" for n, v in stage.variables.items()), *stage.command, *more])
    script = f"""set -e
mount --bind {root} {root}
mount --bind {data} {root}/data
mount -o remount,bind,{data_mode} {root}/data
mount -o remount,bind,ro {root}
mount -t tmpfs tmpfs {root}/tmp
mount -t proc proc {root}/proc
mount --bind /dev {root}/dev
exec chroot --userspec={stage.user}:{stage.user} {root} /usr/bin/env --chdir={stage.folder} {inner}"""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]


def require(result: object, expected: object, what: str) -> None:
    """End with a word where it isn't so."""
    say(f"{what}:", result)
    if result != expected:
        raise SystemExit(f"{what}: expected {expected!r}, got {result!r}")


def furnished(stage: Stage, work: Path) -> Path:
    """What a volume on /data would have: a network and images, the stage's user's own."""
    data = work / "data"
    shutil.rmtree(data, ignore_errors=True)
    run(sys.executable, "-c", UNPACK, SOURCE, data)
    run("chown", "--recursive", f"{stage.user}:{stage.user}", data)
    return data


def train(stage: Stage, root: Path, data: Path) -> None:
    """A small network, trained by the stage's entry point."""
    stage.command = stage.command[:1]
    small = ["--hidden", "16", "--epochs", "1", "--batch-size", "8", "--crops", "1"]
    run(*inside(stage, root, data, ["train", "--data", "/data/images", *small], "rw"))
    made = sorted(path.name for path in data.glob("artifacts/images/1/*"))
    require(made, ["history.json", "kernels.npy", "labels.json", "manifest.json", "network.onnx"], "the artifact")


def serve(stage: Stage, root: Path, data: Path) -> None:
    """Start the stage's command, and ask it."""
    image = next(data.glob("images/*/*.png"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(inside(stage, root, data, ["--port", str(port), "--device", "auto"], "ro"))
    try:
        address = f"http://127.0.0.1:{port}"
        wait(f"{address}/ready", server)
        with urllib.request.urlopen(f"{address}/info", timeout=30) as answer:
            require(json.loads(answer.read())["device"], "cpu", "device")
        asked = urllib.request.Request(f"{address}/classify", image.read_bytes(), {"Content-Type": "image/png"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            require(answer.status, 200, "/classify")
        status = Path(f"/proc/{child_of(server.pid)}/status").read_text()
        require(re.findall(r"Uid:\s+(\d+)", status), [stage.user], "user of the server")
    finally:
        inner_pid = child_of(server.pid)
        os.kill(inner_pid, signal.SIGTERM)
        try:
            ended = server.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(inner_pid, signal.SIGKILL)
            raise
    require(ended, 0, "status after SIGTERM")


UNPACK = """
import shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from model.artifacts.packed import unpack_bundled
import elpv_dataset
home = Path(sys.argv[2])
unpack_bundled("elpv", home / "artifacts")
for number in range(1, 41):
    place = home / "images" / ("odd" if number % 2 else "even")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(elpv_dataset.__path__[0]) / "data" / "images" / f"cell{number:04}.png", place)
"""


def child_of(pid: int) -> int:
    """The last process of a chain."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


def wait(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"no answer from {address}")


def main() -> None:
    """Build the stages that are named, run each, and say sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", default=["cpu"])
    parser.add_argument("--work", type=Path, default=Path("build/images").absolute())
    selected = parser.parse_args()
    if ALONE not in os.environ:  # what is mounted is gone when this ends, however it ends
        again = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(again[0], again, os.environ | {ALONE: "1"})
    every = stages((SOURCE / "Dockerfile").read_text())
    selected.work.mkdir(parents=True, exist_ok=True)
    for name in selected.stages:
        root = build(name, every, selected.work)
        taken = size(root)
        say(f"{name}: {taken / 1e6:,.0f} MB")
        prove = train if name == "train" else serve
        prove(every[name], root, furnished(every[name], selected.work))
        if name == "cpu" and "EXTRAS" not in os.environ and taken > LIMIT:
            raise SystemExit(f"image of {taken / 1e6:,.0f} MB: the limit is {LIMIT / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
