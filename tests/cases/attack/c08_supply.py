"""Artifacts, ONNX files and zip files from others; start in a container (PID 1); SIGHUP while starting; draining.

Needs root for the part `process_1`. With GROCERY_ZIP, the published archive of the data set grocery, `zip_files` tries
damaged copies of it, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.cases.attack.harness import (
    ALEXNET,
    ARTIFACTS,
    HOME,
    INDEX,
    LOGS,
    MEMORY_LIMIT,
    Server,
    copy_index,
    count,
    first_image,
    list_images,
    make_folder,
    report,
    run_parts,
    run_shell,
)

PORT = 8608
ROOT = HOME / "artifacts_from_others"
(SOURCE,) = (ARTIFACTS / "elpv").iterdir()
HALF = np.full(8, 0.5, np.float32).tobytes()


def make_artifact(
    model: ModelProto | None = None, name: str = "elpv", manifest: dict[str, object] | None = None
) -> Path:
    """An artifact whose manifest fits this model."""
    shutil.rmtree(ROOT, ignore_errors=True)
    folder = ROOT / "a"
    folder.mkdir(parents=True)
    (folder / "network.onnx").write_bytes((model or make_model()).SerializeToString())
    shutil.copy(SOURCE / "labels.json", folder)
    document = json.loads((SOURCE / "manifest.json").read_text())
    document |= {"name": name, "version": 1, "num_classes": 8, "feature_dim": 16, "files": {}}
    for file in ("network.onnx", "labels.json"):
        content = (folder / file).read_bytes()
        document["files"][file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(document | (manifest or {})))
    return folder


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def constant(name: str, value: object, dtype: Any = np.int64) -> TensorProto:
    array: NDArray[Any] = np.array(value, dtype)
    return numpy_helper.from_array(array, name)


def make_model(nodes: Sequence[NodeProto] = (), constants: Sequence[TensorProto] = ()) -> ModelProto:
    """A model with a network's inputs and outputs: 8 probabilities of 1/8 and 16 features of 1. With `constants`, it
    adds `w`, which they or `nodes` give, to the probabilities."""
    node, value_info = helper.make_node, helper.make_tensor_value_info
    inputs = [
        value_info("images", TensorProto.UINT8, ["N", 256, 256, 3]),
        value_info("crops", TensorProto.INT64, ["C"]),
    ]
    outputs = [
        value_info("probabilities", TensorProto.FLOAT, ["N", 8]),
        value_info("features", TensorProto.FLOAT, ["N", 16]),
    ]
    last = (
        node("Add", ["eighths", "w"], ["probabilities"])
        if constants
        else node("Identity", ["eighths"], ["probabilities"])
    )
    graph_nodes = [
        node("Shape", ["images"], ["count"], start=0, end=1),
        node("Concat", ["count", "k8"], ["shape8"], axis=0),
        node("Concat", ["count", "k16"], ["shape16"], axis=0),
        node("Expand", ["eighth", "shape8"], ["eighths"]),
        node("Expand", ["one", "shape16"], ["features"]),
        *nodes,
        last,
    ]
    own = [constant("k8", [8]), constant("k16", [16]), constant("eighth", 0.125, np.float32)]
    own += [constant("one", 1, np.float32), *constants]
    graph = helper.make_graph(graph_nodes, "g", inputs, outputs, own)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def raw_tensor(dims: list[int], data: bytes = b"") -> TensorProto:
    """The constant `w` with these dimensions and bytes, even if they don't fit together."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, raw_data=data)
    tensor.dims.extend(dims)
    return tensor


def external_tensor(location: str) -> TensorProto:
    """The constant `w`, with its data in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.dims.extend([8])
    for key, value in (("location", location), ("offset", "0")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def large_sum(dims: list[int]) -> ModelProto:
    """A model that makes a tensor of this shape in each run."""
    nodes = [
        helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["w"], keepdims=0),
    ]
    return make_model(nodes, [constant("large", dims)])


def try_artifact(name: str, artifact: Path, timeout: float = 30) -> None:
    """Serve an artifact, and classify an image if it starts."""
    server = Server(PORT, artifact=artifact, log="others.log", wait=False)
    start, state, max_rss = time.monotonic(), "HANGS", 0
    while time.monotonic() - start < timeout:
        if server.process.poll() is not None:
            state = f"ended with {server.process.returncode}"
            break
        try:
            max_rss = server.max_rss
        except StopIteration:  # it has just ended
            continue
        if server.status("GET", "/ready", timeout=2) == 200:
            state = "SERVES"
            break
        time.sleep(0.1)
    details = (server.log_tail(230).strip().splitlines() or [""])[-1]
    if state == "SERVES":
        status = server.status("POST", "/classify", first_image(), timeout=20)
        details = f"/classify {status}"
        if status == 200:
            predictions = server.request("POST", "/classify", first_image()).json()["predictions"]
            details += f", probabilities {[round(p['probability'], 3) for p in predictions][:3]}"
    end = server.terminate(10) if server.process.poll() is None else ""
    seconds = time.monotonic() - start
    report(f"{name:44} {state}, {seconds:.1f} s, {max_rss} MB at most | {details} | {end}")


def onnx_files() -> None:
    try_artifact("a tiny model", make_artifact())
    for name, tensor in {
        "constant of 2^40 numbers, without data": raw_tensor([2**40]),
        "constant of [2^62, 8] numbers": raw_tensor([2**62, 8]),
        "constant of [-1] numbers": raw_tensor([-1], bytes(4)),
        "constant with fewer bytes than numbers": raw_tensor([8], bytes(4)),
        "NaN added to probabilities": constant("w", np.nan, np.float32),
        "-5 added to probabilities": constant("w", -5, np.float32),
        "infinity added to probabilities": constant("w", np.inf, np.float32),
    }.items():
        try_artifact(name, make_artifact(make_model(constants=[tensor])))
    model = make_model(constants=[raw_tensor([8], HALF)])
    model.doc_string = "x" * (300 << 20)
    try_artifact("300 MB of documentation", make_artifact(model))
    try_artifact("tensor of 12 GB", make_artifact(large_sum([10**9, 3])))
    try_artifact("tensor of 2.8 GB for each image", make_artifact(large_sum([7 * 10**8])))


def external_data() -> None:
    beside = make_artifact(make_model(constants=[external_tensor("w.bin")]))
    (beside / "w.bin").write_bytes(HALF)
    try_artifact("external file that the manifest doesn't list", beside)
    (beside / "w.bin").write_bytes(np.full(8, -0.1, np.float32).tobytes())
    try_artifact("   the same, changed later", beside)
    outside = make_model(constants=[external_tensor("../../index/features-1.f32")])
    try_artifact("external file in ../../index", make_artifact(outside))
    linked = make_artifact(make_model(constants=[external_tensor("sub/w.bin")]))
    target = HOME / "elsewhere"
    target.mkdir(exist_ok=True)
    (target / "w.bin").write_bytes(HALF)
    (linked / "sub").symlink_to(target)
    try_artifact("external file in a linked folder", linked)
    hard = make_artifact(make_model(constants=[external_tensor("w.bin")]))
    (hard / "w.bin").hardlink_to(INDEX / "features-1.f32")
    try_artifact("external file that is a hard link", hard)


def manifests() -> None:
    make_artifact()
    (ROOT / "b").mkdir()
    (ROOT / "b" / "manifest.json").write_text("{}")
    try_artifact("another manifest.json beside it", ROOT)
    first = make_artifact(manifest={"created": "2026-01-01T00:00:00"})
    shutil.copytree(first, ROOT / "c")
    change_manifest(ROOT / "c", created="2026-01-01T00:00:00Z")
    try_artifact("two, one created without a time zone", ROOT)
    whole = make_artifact()
    shutil.copytree(whole, ROOT / "newer")
    change_manifest(ROOT / "newer", created="2099-01-01T00:00:00Z")
    (ROOT / "newer" / "network.onnx").unlink()
    try_artifact("the newest half copied, an older whole one", ROOT)
    absolute, work = HOME / "absolute", HOME / "names" / "x" / "y"
    images = make_folder("new0", 3, b"0")
    for name in ("../../outside", str(absolute)):
        artifact = make_artifact(name=name)
        shutil.rmtree(HOME / "names", ignore_errors=True)
        work.mkdir(parents=True)
        result = run_shell(f"{ALEXNET} index add --data {images} --artifact {artifact}", cwd=work)
        catalogs = [*(HOME / "names").rglob("catalog.sqlite"), *absolute.rglob("catalog.sqlite")]
        written = [str(path.relative_to(HOME)) for path in catalogs]
        report(f"an artifact named {Path(name).name if name == str(absolute) else name}:",
               f"`index add` ended with {result.status}, wrote {written}", result.last(100))  # fmt: skip
        shutil.rmtree(absolute, ignore_errors=True)


def zip_files() -> None:
    folder = HOME / "zip"
    folder.mkdir(exist_ok=True)
    data = folder / "data"

    def train(name: str, archive: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)
        options = f"--data grocery --archive {archive} --epochs 1 --hidden 16 --home {folder}"
        result = run_shell(f"{ALEXNET} train {options}", 60, folder, {"ALEXNET_DATA": str(data)})
        written = sorted(str(path.relative_to(folder)) for path in data.rglob("*"))[:3] if data.exists() else []
        report(f"{name}:", result.status, f"{result.seconds} s", result.last(170), written)

    def pack(name: str, members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return folder / name

    outside = {"dataset/../../../../outside.txt": b"x", "/dataset/absolute.txt": b"y"}
    train("members outside", pack("outside.zip", outside))
    train("256 MB of zeros in a member", pack("bomb.zip", {"dataset/a.txt": bytes(1 << 28)}))
    (folder / "random").write_bytes(os.urandom(1000))
    for name in ("random", "missing.zip"):
        train(name, folder / name)
    train("/dev/null", Path("/dev/null"))
    train("a folder", folder)
    if "GROCERY_ZIP" not in os.environ:
        report("published archive, damaged: skipped without GROCERY_ZIP")
        return
    for name, content in damaged_archives(Path(os.environ["GROCERY_ZIP"])):
        (folder / "damaged.zip").write_bytes(content)
        train(name, folder / "damaged.zip")
    (folder / "damaged.zip").unlink()


def damaged_archives(archive: Path) -> list[tuple[str, bytes]]:
    """Copies of the published archive with a damaged, encrypted or unreadable member, and half of it; name, bytes."""
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        member = next(info for info in opened.infolist() if info.filename.endswith(".jpg"))
    entry = content.rfind(b"PK\x01\x02", 0, content.rfind(member.filename.encode()))
    start = member.header_offset
    bytes_of_member = bytearray(content)
    bytes_of_member[start + 200 : start + 264] = os.urandom(64)
    archives = [("a member's bytes damaged", bytes(bytes_of_member))]
    for name, offset, value in (("encrypted", 8, b"\x01\x08"), ("unknown method 99", 10, b"\x63\x00")):
        changed = bytearray(content)
        changed[entry + offset : entry + offset + 2] = value
        changed[start + offset - 2 : start + offset] = value
        archives.append((name, bytes(changed)))
    return [*archives, ("half of it", content[: len(content) // 2])]


def process_1() -> None:
    """Send SIGTERM to the server as process 1, which ignores signals without a handler; then SIGHUP while it starts."""
    index = copy_index("index_process_1")
    serve = f"{ALEXNET} serve --artifact {ARTIFACTS} --index {index} --port {PORT}"
    namespace = f"exec unshare --pid --fork --mount-proc --kill-child {serve}"
    for delay in (0.3, 0.8, 1.5, 6):
        with (LOGS / "process_1.log").open("ab") as log:
            process = subprocess.Popen(["bash", "-c", MEMORY_LIMIT + namespace], stdout=log, stderr=log)
        time.sleep(delay)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        start = time.monotonic()
        try:
            status = f"ended with {process.wait(10)} after {time.monotonic() - start:.1f} s"
        except subprocess.TimeoutExpired:
            status = "ignored for 10 s"
            os.kill(int(children[0]), signal.SIGKILL)
            process.wait()
        report(f"as process 1, SIGTERM {delay} s after its start:", status)
    for delay in (0.5, 1.5, 2.5):
        server = Server(PORT, index, log="hangup.log", wait=False)
        time.sleep(delay)
        server.reload()
        time.sleep(3)
        report(f"SIGHUP {delay} s after its start: ended with", server.process.poll())
        server.kill()


def drain() -> None:
    """Send SIGTERM with 40 classifications and 8 additions in flight."""
    images = [path.read_bytes() for path in list_images(40)]
    for seconds in ("0", "3"):
        index = copy_index("index_drain")
        server = Server(PORT, index, log="drain.log", environment={"ALEXNET_DRAIN_SECONDS": seconds})
        classified, added, ids = list[object](), list[object](), list[int]()
        threads = [Thread(target=call) for call in in_flight(server, images, classified, added, ids)]
        for thread in threads:
            thread.start()
        time.sleep(0.6)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        ready = server.status("GET", "/ready", timeout=3)
        status = server.process.wait(90)
        duration = time.monotonic() - start
        for thread in threads:
            thread.join()
        with closing(sqlite3.connect(index / "catalog.sqlite")) as database:
            stored = {image_id for (image_id,) in database.execute("SELECT id FROM images")}
        report(f"SIGTERM, drain {seconds}: {status} after {duration:.1f} s; /ready {ready};", count(classified),
               count(added), "acknowledged and missing:", sorted(set(ids) - stored))  # fmt: skip
    server = Server(PORT, copy_index("index_drain"), log="drain.log")
    threads = [Thread(target=call) for call in in_flight(server, images, [], [], [])]
    for thread in threads:
        thread.start()
    time.sleep(0.6)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    report("a second", server.terminate())
    for thread in threads:
        thread.join()


def in_flight(
    server: Server, images: list[bytes], classified: list[object], added: list[object], ids: list[int]
) -> list[Callable[[], None]]:
    """Calls that record the statuses of their responses, and the ids of added images."""

    def classify(image: bytes) -> None:
        classified.append(server.status("POST", "/classify", image, timeout=60))

    def add() -> None:
        response = server.add_images()
        added.append(response if isinstance(response, str) else response.status)
        if not isinstance(response, str) and response.status == 200:
            ids.append(response.json()["images"][0]["id"])

    return [*[lambda image=image: classify(image) for image in images], *[add] * 8]


if __name__ == "__main__":
    run_parts(onnx_files, external_data, manifests, zip_files, process_1, drain)
