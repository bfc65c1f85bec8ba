"""What Triton's tools read besides inference, with its unmodified client; what would change something is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

Call = Callable[[Any], Any]


def test_what_perf_analyzer_sends(triton: Any, jpeg: bytes) -> None:
    """It reads metadata and configuration, then statistics before and after a number of requests."""
    from tritonclient import http

    assert "statistics" in triton.get_server_metadata()["extensions"]
    metadata, config = triton.get_model_metadata("patterns"), triton.get_model_config("patterns", "1")
    assert (config["name"], config["max_batch_size"], config["backend"]) == ("patterns", 0, "onnxruntime")
    assert config["version_policy"] == {"specific": {"versions": [1]}}
    types = {"TYPE_STRING": "BYTES", "TYPE_FP32": "FP32"}
    for kind in ("input", "output"):
        described = [(entry["name"], types[entry["data_type"]], entry["dims"]) for entry in config[kind]]
        assert described == [(entry["name"], entry["datatype"], entry["shape"]) for entry in metadata[f"{kind}s"]]

    def statistics() -> dict[str, Any]:
        (model,) = triton.get_inference_statistics("patterns")["model_stats"]
        assert isinstance(model, dict)
        return model

    before = statistics()
    image = http.InferInput("image", [2], "BYTES").set_data_from_numpy(np.array([jpeg, jpeg], dtype=np.object_))
    outputs = [http.InferRequestedOutput(entry["name"], binary_data=True) for entry in metadata["outputs"]]
    for _ in range(3):
        triton.infer("patterns", [image], outputs=outputs)
    bad = http.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([b"no image"], dtype=np.object_))
    with pytest.raises(Exception, match="image"):
        triton.infer("patterns", [bad])
    after = statistics()
    assert after["inference_count"] - before["inference_count"] == 6
    assert 3 <= after["execution_count"] - before["execution_count"] <= 6
    assert sum(batch["compute_infer"]["count"] for batch in after["batch_stats"]) == after["execution_count"]
    grown = {
        name: (value["count"] - before["inference_stats"][name]["count"], value["ns"] > 0)
        for name, value in after["inference_stats"].items()
    }
    phases = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    assert grown == {
        **dict.fromkeys(phases, (3, True)), "fail": (1, True), "cache_hit": (0, False), "cache_miss": (0, False)
    }  # fmt: skip
    assert after["last_inference"] > before["last_inference"]
    assert triton.get_inference_statistics()["model_stats"] == [after]


def test_many_requests_at_once(address: str, jpeg: bytes) -> None:
    """As from perf_analyzer, which keeps several requests in flight.

    Each has its own connection: a gevent request that waits for another's connection may never be woken if a thread of
    the server, in the same process, garbage-collects the response that held it.
    """
    from tritonclient import http

    image = http.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([jpeg], dtype=np.object_))
    with http.InferenceServerClient(address, concurrency=4) as client:
        pending = [client.async_infer("patterns", [image], request_id=str(number)) for number in range(4)]
        results = [request.get_result(timeout=30) for request in pending]
    assert [result.get_response()["id"] for result in results] == ["0", "1", "2", "3"]
    assert all(result.as_numpy("probabilities").shape == (1, 3) for result in results)


def test_tensors_in_shared_memory_are_refused(triton: Any, jpeg: bytes) -> None:
    from tritonclient import http

    image = http.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([jpeg], dtype=np.object_))
    shared_input, shared_output = http.InferInput("image", [1], "BYTES"), http.InferRequestedOutput("features")
    for tensor in (shared_input, shared_output):
        tensor.set_shared_memory("region", 256)
    for entry, outputs in ((shared_input, None), (image, [shared_output])):
        with pytest.raises(Exception, match=r"\[422\] this server doesn't support shared memory: send tensors"):
            triton.infer("patterns", [entry], outputs=outputs)


def test_the_repository_and_the_settings(triton: Any) -> None:
    ready = {"name": "patterns", "version": "1", "state": "READY", "reason": ""}
    assert triton.get_model_repository_index() == [ready]
    assert triton.get_trace_settings()["trace_level"] == ["OFF"]
    assert triton.get_trace_settings("patterns") == triton.get_trace_settings()
    assert triton.get_log_settings()["log_verbose_level"] == 0
    assert triton.get_system_shared_memory_status() == triton.get_cuda_shared_memory_status() == []
    triton.unregister_system_shared_memory()
    triton.unregister_cuda_shared_memory()


@pytest.mark.parametrize(
    "change",
    [
        lambda triton: triton.load_model("patterns"),
        lambda triton: triton.unload_model("patterns"),
        lambda triton: triton.update_trace_settings("patterns", {"trace_level": "TIMESTAMPS"}),
        lambda triton: triton.update_trace_settings(settings={"trace_level": "TIMESTAMPS"}),
        lambda triton: triton.update_log_settings({"log_info": False}),
        lambda triton: triton.register_system_shared_memory("region", "/dev/shm/x", 8),
        lambda triton: triton.register_cuda_shared_memory("region", b"", 0, 8),
    ],
)
def test_nothing_is_changed(triton: Any, change: Call) -> None:
    with pytest.raises(Exception, match=r"\[400\]"):
        change(triton)


@pytest.mark.parametrize("path", ["config", "stats", "trace/setting"])
def test_another_model_is_unknown(client: TestClient, path: str) -> None:
    answer = client.get(f"/v2/models/resnet/{path}")
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
