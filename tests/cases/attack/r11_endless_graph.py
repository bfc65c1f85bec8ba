"""A newer artifact has a graph that loops 2^62 times: reload; remove it and reload; SIGTERM, twice if necessary."""

from __future__ import annotations

import shutil

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tests.cases.attack.c08_supply import change_manifest, constant, make_artifact, make_model
from tests.cases.attack.harness import HOME, Server, first_image, report

PORT = 8642
KEY = "a" * 16


def endless_model() -> ModelProto:
    node, value_info = helper.make_node, helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Add", ["x", "zero_inside"], ["y"])],
        "body",
        [
            value_info("i", TensorProto.INT64, []),
            value_info("go_in", TensorProto.BOOL, []),
            value_info("x", TensorProto.FLOAT, []),
        ],
        [value_info("go_out", TensorProto.BOOL, []), value_info("y", TensorProto.FLOAT, [])],
        [constant("zero_inside", 0, np.float32)],
    )
    constants = [constant("times", 2**62), constant("go", True, np.bool_), constant("zero", 0, np.float32)]
    return make_model([node("Loop", ["times", "go", "zero"], ["w"], body=body)], constants)


def main() -> None:
    root, headers = HOME / "artifacts_endless", {"Authorization": f"Bearer {KEY}"}
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(make_artifact(), root / "good")
    server = Server(PORT, artifact=root, log="r11.log", environment={"ALEXNET_KEYS": f"admin:{KEY}"})
    shutil.copytree(make_artifact(endless_model()), root / "endless")
    change_manifest(root / "endless", created="2099-01-01T00:00:00Z")
    report("reload:", server.status("POST", "/reload", headers=headers, timeout=8))
    shutil.rmtree(root / "endless")
    report("taken away, reload:", server.status("POST", "/reload", headers=headers, timeout=8))
    report("/live", server.status("GET", "/live"))
    report("/classify", server.status("POST", "/classify", first_image(), headers))
    server.process.send_signal(15)
    try:
        report("SIGTERM: ended with", server.process.wait(20))
    except Exception:
        report("not ended 20 s after SIGTERM; a second", server.terminate(10))


if __name__ == "__main__":
    main()
