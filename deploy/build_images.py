"""`make images`: build the Dockerfile's stages with podman, and run them. Needs root on Debian, but no registry.

debootstrap makes the base image, which gets the name that the Dockerfile expects. The builds use this machine's pip
configuration (another index, certificates) without copying it into the images. Each image runs as in production: as its
own user, read-only except for /tmp; the server's image serves the demo with a memory limit, and must become healthy.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).parents[1]
WORK = SOURCE / "build" / "images"
BASE, RELEASE = "docker.io/library/debian:bookworm-slim", "bookworm"
NOT_IN_SLIM = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
"""Folders that debootstrap creates and Debian's own slim image leaves out."""
NO_CACHE = """\
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
"""Makes apt keep neither package files nor its caches, as in Debian's own image."""
MAX_CPU_IMAGE_BYTES = 450e6
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
PRODUCTION = (
    "--network", "host", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "all",
    "--security-opt", "no-new-privileges", "--ulimit", "nofile=4096", "--ulimit", "nproc=4096",
)  # fmt: skip
PIP_CONFIGURATIONS = (Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"))


def report(*words: object) -> None:
    """Print a line and flush it."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def run(*command: object) -> None:
    report("$", *command)
    subprocess.run([str(word) for word in command], check=True)


def read(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.strip()


def make_base() -> None:
    """Import a minimal Debian as the base image, unless it exists."""
    if subprocess.run([*PODMAN, "image", "exists", BASE], check=False).returncode == 0:
        return
    root = WORK / "debian"
    shutil.rmtree(root, ignore_errors=True)
    run("debootstrap", "--variant=minbase", RELEASE, root)
    for left_out in NOT_IN_SLIM:
        shutil.rmtree(root / left_out, ignore_errors=True)
    (root / "etc/apt/apt.conf.d/docker-clean").write_text(NO_CACHE)
    archive = WORK / "debian.tar"
    run("tar", "--directory", root, "--create", "--file", archive, ".")
    run(*PODMAN, "import", archive, BASE)
    archive.unlink()
    shutil.rmtree(root)


def pip_volumes() -> Iterator[str]:
    """Mounts that give a build this machine's pip configuration, and the files and folders that it names."""
    settings: dict[str, str] = {}
    for path in PIP_CONFIGURATIONS:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(path)
        settings |= dict(parser["global"]) if parser.has_section("global") else {}
    prefix = "PIP_"
    settings |= {
        name.removeprefix(prefix).lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith(prefix)
    }
    for name, value in settings.items():
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():  # at its own path, the image would replace a certificate
                inside = Path("/run/pip") / path.name
                yield f"{path.resolve()}:{inside}:ro"
                settings[name] = settings[name].replace(str(path), str(inside))
    configuration = WORK / "pip.conf"
    configuration.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    yield f"{configuration}:/etc/pip.conf:ro"


def build(stage: str, arguments: list[str]) -> str:
    """Build a stage of the Dockerfile. Returns the name of its image."""
    name = f"localhost/alexnet-server:{stage}"
    volumes = [word for volume in pip_volumes() for word in ("--volume", volume)]
    options = ["--isolation", "chroot", "--network", "host", "--pull=never", "--format", "docker", *volumes]
    values = [word for argument in arguments for word in ("--build-arg", argument)]
    run(*PODMAN, "build", *options, *values, "--target", stage, "--tag", name, SOURCE)
    return name


def image_bytes(image: str) -> int:
    return int(read(*PODMAN, "image", "inspect", "--format", "{{.Size}}", image))


@contextmanager
def container(image: str, options: list[str], command: list[str]) -> Iterator[str]:
    """Run a container; SIGTERM must end it with status 0, and its log is printed at the end."""
    identifier = read(*PODMAN, "run", "--detach", *PRODUCTION, *options, image, *command)
    try:
        yield identifier
        run(*PODMAN, "stop", "--time", "30", identifier)
        status = read(*PODMAN, "inspect", "--format", "{{.State.ExitCode}}", identifier)
        require("exit status after SIGTERM", status, "0")
    finally:
        log = subprocess.run([*PODMAN, "logs", identifier], check=False, capture_output=True, text=True)
        report((log.stdout + log.stderr)[-3000:])
        subprocess.run([*PODMAN, "rm", "--force", "--volumes", identifier], check=False, capture_output=True)


def require(what: str, value: object, expected: object) -> None:
    report(f"{what}: {value}")
    if value != expected:
        raise SystemExit(f"{what}: expected {expected!r}, got {value!r}")


def get(address: str, data: bytes | None = None) -> object:
    headers = {} if data is None else {"Content-Type": "image/jpeg"}
    with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=60) as response:
        return json.loads(response.read())


def wait_until_ready(address: str, seconds: float = 180) -> float:
    """Wait until the server is ready. Returns the seconds that it took."""
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        try:
            urllib.request.urlopen(f"{address}/ready", timeout=2)
        except OSError:
            time.sleep(0.2)
        else:
            return time.monotonic() - start
    raise SystemExit(f"no answer from {address} within {seconds:.0f} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def serve_demo(image: str, memory: str) -> None:
    """Serve the demo in its own volume; it must classify and find an image, and be healthy."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    options = ["--volume", "/data", "--env", f"ALEXNET_PORT={port}", *(["--memory", memory] if memory else [])]
    with container(image, options, ["demo", "--port", str(port)]) as identifier:
        report(f"ready after {wait_until_ready(address):.1f} s")
        with urllib.request.urlopen(f"{address}/images/1/image", timeout=30) as response:
            photograph = response.read()
        report("classified:", json.dumps(get(f"{address}/classify?top=1", photograph))[:300])
        nearest = get(f"{address}/similar?k=1", photograph)
        assert isinstance(nearest, dict)
        require("nearest image", nearest["neighbors"][0]["id"], 1)
        pid = read(*PODMAN, "inspect", "--format", "{{.State.Pid}}", identifier)
        status = Path(f"/proc/{pid}/status").read_text()
        require("user", re.findall(r"Uid:\s+(\d+)", status), ["1000"])
        report("memory:", *re.findall(r"VmHWM:\s+(\d+ kB)", status))
        require("writing to /opt", _exit_status(identifier, "touch", "/opt/x"), 1)
        health = subprocess.run([*PODMAN, "healthcheck", "run", identifier], check=False)
        require("status of the health check", health.returncode, 0)


def train(image: str) -> None:
    """Train a small network on a few drawn images, and publish it to a volume."""
    data = WORK / "data"
    shutil.rmtree(data, ignore_errors=True)
    run(sys.executable, "-c", MAKE_IMAGES, SOURCE, data / "images")
    run("chown", "--recursive", "1000:1000", data)
    small = ["--hidden", "16", "--epochs", "1", "--batch-size", "8", "--init-from", "none"]
    options = ["--volume", f"{data}:/data"]
    run(*PODMAN, "run", "--rm", *PRODUCTION, *options, image, "train", "--data", "/data/images", *small)
    require("networks", [path.name for path in data.glob("artifacts/images/1/network.onnx")], ["network.onnx"])


MAKE_IMAGES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.helpers.drawings import draw_images
draw_images(Path(sys.argv[2]), 20, 1)
"""


def _exit_status(identifier: str, *command: str) -> int:
    return subprocess.run([*PODMAN, "exec", identifier, *command], check=False, capture_output=True).returncode


def main() -> None:
    """Build the named stages, run each, and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", default=["cpu"])
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", dest="arguments")
    parser.add_argument("--memory", default="2g", help="memory limit of the server's container; empty: none")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    make_base()
    for stage in options.stages:
        image = build(stage, options.arguments)
        size = image_bytes(image)
        report(f"{stage}: {size / 1e6:,.0f} MB")
        train(image) if stage == "train" else serve_demo(image, options.memory)
        if stage == "cpu" and not options.arguments and size > MAX_CPU_IMAGE_BYTES:
            raise SystemExit(f"this image exceeds its limit of {MAX_CPU_IMAGE_BYTES / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
