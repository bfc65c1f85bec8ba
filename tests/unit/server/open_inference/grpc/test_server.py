"""gRPC, by Triton's own client, unmodified, in the same process."""

from __future__ import annotations

import json
import logging
import queue
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor
from starlette.testclient import TestClient
from tritonclient import grpc as triton
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from server.app import create_app
from server.exceptions import BindError, MissingPackageError
from server.open_inference.grpc import extra
from server.open_inference.grpc import server as grpc_server
from server.open_inference.grpc.messages import encode_request, message_class, service_methods
from server.open_inference.infer_request import MAX_JSON_VALUES
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until

KEY = "r" * 16


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def port(artifact: Artifact) -> Iterator[int]:
    """The gRPC port of a server with a key, which the application starts and stops."""
    port = free_port()
    settings = Settings(artifact=artifact.path, grpc_port=port, keys=f"read:{KEY}", max_body_bytes=1_000_000)
    with TestClient(create_app(Service(settings))):
        yield port


@pytest.fixture(scope="module")
def client(port: int) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield client


HEADERS = {"authorization": f"Bearer {KEY}"}


def image_input(*images: bytes) -> Any:
    return triton.InferInput("image", [len(images)], "BYTES").set_data_from_numpy(np.array(images, dtype=np.object_))


def test_health_needs_no_key_and_the_rest_does(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    with pytest.raises(InferenceServerException, match=r"UNAUTHENTICATED.*missing or unknown API key"):
        client.get_server_metadata()
    with pytest.raises(InferenceServerException, match=r"UNAUTHENTICATED.*missing or unknown API key"):
        client.get_server_metadata(headers={"authorization": f"Basic {KEY}"})
    assert client.get_server_metadata(headers={"x-api-key": KEY}).name == "alexnet-server"


def test_what_perf_analyzer_sends(client: Any, jpeg: bytes, model: OnnxModel) -> None:
    assert client.is_model_ready("patterns", "1", headers=HEADERS)
    metadata = client.get_model_metadata("patterns", headers=HEADERS)
    config = client.get_model_config("patterns", headers=HEADERS).config
    assert [entry.name for entry in metadata.inputs] == [entry.name for entry in config.input] == ["image"]
    assert (config.max_batch_size, config.version_policy.specific.versions) == (0, [1])
    assert config.input[0].data_type == model_config_pb2.TYPE_STRING
    before = client.get_inference_statistics("patterns", headers=HEADERS).model_stats[0]
    outputs = [triton.InferRequestedOutput(entry.name) for entry in metadata.outputs]
    result = client.infer("patterns", [image_input(jpeg, jpeg)], outputs=outputs, request_id="7", headers=HEADERS)
    probabilities, features = model.run(decode_image(jpeg).pixels[None], TEN_CROP)
    np.testing.assert_allclose(result.as_numpy("probabilities"), np.repeat(probabilities, 2, axis=0), atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("features"), np.repeat(features, 2, axis=0), rtol=1e-5, atol=1e-6)
    assert (result.get_response().id, result.get_response().model_version) == ("7", "1")
    after = client.get_inference_statistics(headers=HEADERS).model_stats[0]
    assert after.inference_count - before.inference_count == 2
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert client.get_model_repository_index(headers=HEADERS).models[0].state == "READY"
    assert list(client.get_trace_settings(headers=HEADERS).settings["trace_level"].value) == ["OFF"]
    assert client.get_log_settings(headers=HEADERS).settings["log_info"].bool_param is True


def test_pixels_classes_and_parameters(client: Any, jpeg: bytes) -> None:
    pixels = decode_image(jpeg).pixels[None]
    entry = triton.InferInput("pixels", list(pixels.shape), "UINT8").set_data_from_numpy(pixels)
    classes = triton.InferRequestedOutput("probabilities", class_count=2)
    result = client.infer("patterns", [entry], outputs=[classes], parameters={"crops": 1}, headers=HEADERS)
    texts = result.as_numpy("probabilities")
    assert (texts.shape, texts[0, 0].decode().split(":")[2]) == ((1, 2), "stripes")


def test_tensors_as_elements(port: int, jpeg: bytes) -> None:
    """Clients of the protocol other than Triton's send them like this."""
    request = service_pb2.ModelInferRequest(model_name="patterns")
    entry = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    entry.contents.bytes_contents.append(jpeg)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            service_pb2.ModelInferRequest.SerializeToString, service_pb2.ModelInferResponse.FromString,
        )  # fmt: skip
        metadata = list(HEADERS.items())
        response, finished = call.with_call(request, metadata=metadata)
        assert [output.name for output in response.outputs] == ["probabilities", "features"]
        assert "x-request-id" in dict(finished.trailing_metadata())
        request.raw_input_contents.append(b"x")
        with pytest.raises(grpc.RpcError, match="in `contents`, or all of them in `raw_input_contents`"):
            call(request, metadata=metadata)


@pytest.mark.parametrize(
    "message",
    [
        {"inputs": [{}] * 101},
        {"outputs": [{}] * 101},
        {"raw_input_contents": [b""] * 101},
        {"parameters": {str(number): {} for number in range(101)}},
        {"inputs": [{"shape": [1] * 101}]},
        {"inputs": [{"parameters": {str(number): {} for number in range(101)}}]},
        {"inputs": [{"contents": {"bytes_contents": [b""] * 10_001}}]},
        {"inputs": [{"contents": {"uint_contents": [0] * (MAX_JSON_VALUES + 1)}}]},
        {"outputs": [{"parameters": {str(number): {} for number in range(101)}}]},
    ],
    ids=lambda message: json.dumps(message, default=str)[:40],
)
def test_many_entries_are_refused_before_they_are_translated(message: dict[str, Any]) -> None:
    """8 MB of empty inputs blocked the event loop for 28 s and took 2.7 GB."""
    with pytest.raises(InvalidRequestError, match="more than "):
        encode_request(message_class("ModelInferRequest")(**message))


def test_a_name_that_no_address_could_have_is_refused_before_it_is_quoted_and_logged(client: Any) -> None:
    """A name of 8 MB kept other requests waiting for 13 s and made a line of 25 MB in the log."""
    for call in (client.is_model_ready, client.get_model_metadata, client.get_trace_settings):
        with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*exceed 16,384 characters"):
            call("x" * 20_000, headers=HEADERS)


def test_a_stream(client: Any, jpeg: bytes) -> None:
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: results.put((result, error)), headers=HEADERS)
    for data in (jpeg, b"no image"):
        client.async_stream_infer("patterns", [image_input(data)])
    (result, none), (_, error) = results.get(timeout=20), results.get(timeout=20)
    assert none is None
    assert result.as_numpy("probabilities").shape == (1, 3)
    assert "image" in str(error)
    client.stop_stream()


@pytest.mark.parametrize(
    ("model", "sent", "options", "code"),
    [
        ("patterns", [b"no image"], {}, "INVALID_ARGUMENT"),
        ("patterns", [b"x"] * 17, {}, "INVALID_ARGUMENT"),
        ("patterns", [b"x"], {"parameters": {"corps": 1}}, "INVALID_ARGUMENT"),
        ("patterns", [b"x"], {"timeout": 1}, "DEADLINE_EXCEEDED"),
        ("patterns", [bytes(2_000_000)], {}, "RESOURCE_EXHAUSTED"),
        ("resnet", [b"x"], {}, "NOT_FOUND"),
        ("patterns", [b"x"], {"model_version": "2"}, "NOT_FOUND"),
    ],
    ids=["no image", "too many", "unknown parameter", "time-out", "too large", "model", "version"],
)
def test_errors_have_grpc_s_codes(client: Any, model: str, sent: list[bytes], options: Any, code: str) -> None:
    with pytest.raises(InferenceServerException, match=code):
        client.infer(model, [image_input(*sent)], headers=HEADERS, **options)


def test_an_internal_error_tells_nothing(artifact: Artifact) -> None:
    port = free_port()
    service = Service(Settings(artifact=artifact.path, grpc_port=port))

    def fail() -> None:
        raise RuntimeError("/a/path/of/the/server")

    service.hold_current = fail  # type: ignore[method-assign, assignment]
    with (
        TestClient(create_app(service)),
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
        pytest.raises(
            InferenceServerException, match=r"INTERNAL\] internal error: look up this request id in the server's log"
        ) as raised,
    ):
        client.get_model_metadata("patterns")
    assert "/a/path" not in str(raised.value)


def test_idle_streams_keep_neither_health_nor_other_clients_waiting(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's share is slightly more than half of the calls; its streams end when no message comes."""
    monkeypatch.setattr(grpc_server, "STREAM_IDLE_SECONDS", 4.0)
    port = free_port()
    keys = f"read:{KEY},read:{'s' * 16}"
    service = Service(Settings(artifact=artifact.path, grpc_port=port, max_concurrent_requests=4, keys=keys))
    with (
        TestClient(create_app(service)),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        ended = threading.Event()
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        streams = [call(iter(ended.wait, True), metadata=list(HEADERS.items())) for _ in range(8)]
        wait_until(lambda: sum(not stream.is_active() for stream in streams) == 5)
        assert client.is_server_live()
        assert client.get_server_metadata(headers={"x-api-key": "s" * 16}).name == "alexnet-server"
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*4 concurrent requests.*this client has 3"):
            client.get_server_metadata(headers=HEADERS)
        for stream in streams:
            with pytest.raises(grpc.RpcError):
                next(stream)
        ended.set()
        codes = Counter(stream.code() for stream in streams)
        assert codes == {grpc.StatusCode.UNAVAILABLE: 5, grpc.StatusCode.DEADLINE_EXCEEDED: 3}
        assert client.get_server_metadata(headers=HEADERS).name == "alexnet-server"


def test_a_call_without_its_message_ends(artifact: Artifact) -> None:
    port = free_port()
    service = Service(Settings(artifact=artifact.path, grpc_port=port, request_timeout=0.5))
    with TestClient(create_app(service)), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call, ended = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer"), threading.Event()
        with pytest.raises(grpc.RpcError, match=r"no message within 0\.5 s: call again"):
            call(iter(ended.wait, True))
        ended.set()
        with pytest.raises(grpc.RpcError, match="the call has no message"):
            call(iter(ended.wait, True))


def test_connections_are_limited(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise they would use up the file descriptors that HTTP connections need."""
    monkeypatch.setattr(grpc_server, "max_grpc_connections", lambda: 3)
    port = free_port()
    with TestClient(create_app(Service(Settings(artifact=artifact.path, grpc_port=port)))), ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(8)]
        for connection in connections:
            connection.settimeout(0.2)

        def num_open() -> int:
            return sum(map(is_open, connections))

        wait_until(lambda: num_open() == 3)


def is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def test_a_response_that_nobody_takes_ends_its_call(
    artifact: Artifact, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's flow-control window is smaller than a response, and the client never reads."""
    port = free_port()
    settings = Settings(artifact=artifact.path, grpc_port=port, request_timeout=3.0, max_concurrent_requests=1)
    service = Service(settings)
    window = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
    request = service_pb2.ModelInferRequest(model_name="patterns")
    request.parameters["crops"].int64_param = 1
    entry = request.inputs.add(name="image", datatype="BYTES", shape=[16])
    entry.contents.bytes_contents.extend([jpeg] * 16)
    with (
        TestClient(create_app(service)),
        grpc.insecure_channel(f"127.0.0.1:{port}", options=window) as channel,
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        method = "/inference.GRPCInferenceService/ModelInfer"
        call = channel.unary_stream(method, service_pb2.ModelInferRequest.SerializeToString)
        waiting = call(request)
        answered = b'route="/v2/models/{name}/infer",status="200"'
        wait_until(lambda: answered in service.metrics.render())  # before `is_refused` can take its place
        wait_until(lambda: is_refused(client), 2)
        wait_until(lambda: not is_refused(client), 10)
        waiting.cancel()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def is_refused(client: Any) -> bool:
    """Whether a call is refused because too many are open."""
    try:
        client.get_server_metadata()
    except InferenceServerException as error:
        return "concurrent requests" in str(error)
    return False


def test_an_idle_stream_does_not_delay_the_end(artifact: Artifact) -> None:
    port, ended = free_port(), threading.Event()
    service = Service(Settings(artifact=artifact.path, grpc_port=port, shutdown_timeout=30.0))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with TestClient(create_app(service)):
            grpc.channel_ready_future(channel).result(5)
            stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(iter(ended.wait, True))
            time.sleep(0.5)
            assert stream.is_active()
            start = time.monotonic()
        assert time.monotonic() - start < 10
        with pytest.raises(grpc.RpcError, match="the server is stopping: call again"):
            next(stream)
        ended.set()


def test_a_call_that_was_accepted_before_the_end_is_answered(artifact: Artifact) -> None:
    """Its message comes after the shutdown has begun."""
    port, begun = free_port(), threading.Event()
    service = Service(Settings(artifact=artifact.path, grpc_port=port, shutdown_timeout=30.0))

    def late() -> Iterator[bytes]:
        begun.wait()
        time.sleep(0.5)
        yield b""

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with TestClient(create_app(service)):
            grpc.channel_ready_future(channel).result(5)
            call = channel.stream_unary("/inference.GRPCInferenceService/ServerMetadata").future(late())
            time.sleep(0.5)
            begun.set()
        assert b"alexnet-server" in call.result(10)


def test_what_is_no_message_is_refused(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match="the message can't be parsed") as raised:
            call(b"\xff\xff\xff", metadata=list(HEADERS.items()))
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not caplog.records


def test_refused_calls_are_logged_and_counted(artifact: Artifact, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    caplog.set_level(logging.INFO, "server.middleware.access_log")
    service = Service(Settings(artifact=artifact.path, grpc_port=port, keys=f"read:{KEY}"))
    with (
        TestClient(create_app(service)),
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
        pytest.raises(InferenceServerException, match="UNAUTHENTICATED"),
    ):
        client.get_server_metadata(headers={"x-request-id": "17"})
    path = "/inference.GRPCInferenceService/ServerMetadata"
    (record,) = [record for record in caplog.records if record.name == "server.middleware.access_log"]
    fields = {"path": path, "status": 401, "code": "unauthorized", "request_id": "17"}
    assert fields.items() <= record.__dict__.items()
    counted = f'alexnet_requests_total{{code="unauthorized",route="{path}",status="401"}} 1.0'
    assert counted in service.metrics.render().decode()


@pytest.mark.parametrize("name", ["", "stats", "patterns/trace/setting", "patterns/config", "patterns/versions/1"])
def test_a_name_that_would_be_another_path_is_unknown(port: int, name: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelMetadata", service_pb2.ModelMetadataRequest.SerializeToString
        )
        with pytest.raises(grpc.RpcError, match="unknown model") as raised:
            call(service_pb2.ModelMetadataRequest(name=name), metadata=list(HEADERS.items()))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_what_is_not_there_is_said(client: Any) -> None:
    changes: dict[str, Any] = {
        "load_model": ["patterns"],
        "get_system_shared_memory_status": [],
        "update_log_settings": [{"log_info": False}],
        "update_trace_settings": ["patterns", {"trace_level": "TENSORS"}],
    }
    for name, arguments in changes.items():
        with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
            getattr(client, name)(*arguments, headers=HEADERS)


def test_tensors_in_shared_memory_are_refused(client: Any, jpeg: bytes) -> None:
    """As perf_analyzer sends them with `--shared-memory`: it first unregisters all regions, then registers its own."""
    with pytest.raises(InferenceServerException, match=r"UNIMPLEMENTED.*doesn't support shared memory"):
        client.unregister_system_shared_memory(headers=HEADERS)
    with pytest.raises(InferenceServerException, match=r"UNIMPLEMENTED.*doesn't support shared memory"):
        client.register_system_shared_memory("region", "/region", 8, headers=HEADERS)
    shared_input, shared_output = triton.InferInput("image", [1], "BYTES"), triton.InferRequestedOutput("features")
    for tensor in (shared_input, shared_output):
        tensor.set_shared_memory("region", 256)
    for tensors in ((shared_input, None), (image_input(jpeg), [shared_output])):
        with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*doesn't support shared memory"):
            client.infer("patterns", [tensors[0]], outputs=tensors[1], headers=HEADERS)


def test_many_requests_at_once(client: Any, jpeg: bytes) -> None:
    """As from perf_analyzer, which keeps several requests in flight."""
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for number in range(4):
        client.async_infer(
            "patterns", [image_input(jpeg)], lambda result, error: results.put((result, error)),
            request_id=str(number), headers=HEADERS,
        )  # fmt: skip
    finished = [results.get(timeout=30) for _ in range(4)]
    assert [error for _, error in finished] == [None] * 4
    assert sorted(result.get_response().id for result, _ in finished) == ["0", "1", "2", "3"]


def test_the_messages_are_those_of_triton_s_client() -> None:
    def fields(descriptor: Descriptor) -> dict[str, Any]:
        types = {field.name: field.message_type and field.message_type.full_name for field in descriptor.fields}
        return {
            field.name: (field.number, field.type, field.is_repeated, types[field.name]) for field in descriptor.fields
        }

    def check(own: Descriptor, theirs: Descriptor) -> None:
        assert fields(own).items() <= fields(theirs).items(), own.full_name
        for nested in own.nested_types:
            check(nested, theirs.nested_types_by_name[nested.name])

    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    known = {name: message for file in files for name, message in file.message_types_by_name.items()}
    pool = message_class("ModelInferRequest").DESCRIPTOR.file
    for name, message in pool.message_types_by_name.items():
        check(message, known[name])
    for method in service_methods():
        other = service.methods_by_name[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            other.input_type.full_name, other.output_type.full_name
        )  # fmt: skip


def test_the_binary_definition_is_that_of_the_proto_file(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    folder = Path(extra.__file__).parent
    arguments = ["protoc", "-I", str(folder), f"--descriptor_set_out={tmp_path / 'set'}", "open_inference.proto"]
    assert protoc.main(arguments) == 0
    assert (tmp_path / "set").read_bytes() == (folder / "open_inference.binpb").read_bytes()


def test_no_host_is_all_addresses(artifact: Artifact) -> None:
    port = free_port()
    with (
        TestClient(create_app(Service(Settings(artifact=artifact.path, host="", grpc_port=port)))),
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        assert client.is_server_live()


def test_a_port_in_use_is_said(port: int) -> None:
    with pytest.raises(BindError, match="choose another"):
        extra.check_grpc(Settings(grpc_port=port))
    with pytest.raises(BindError, match="--grpc-port and --port are both 8000: choose different ports"):
        extra.check_grpc(Settings(grpc_port=8000, port=8000))


def test_the_option_of_a_port_in_use_is_named(port: int) -> None:
    with pytest.raises(
        BindError, match=rf"choose another port: --grpc-port {port % 65535 + 1}, or --grpc-port 0 for any"
    ):
        extra.check_grpc(Settings(grpc_port=port))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "server.open_inference.grpc.server", None)
    with pytest.raises(MissingPackageError, match=r"alexnet-server\[grpc\]"):
        extra.check_grpc(Settings(grpc_port=0))


def test_no_call_is_accepted_once_http_takes_no_connection(artifact: Artifact) -> None:
    port = free_port()
    service = Service(Settings(artifact=artifact.path, grpc_port=port))

    with TestClient(create_app(service)) as http, triton.InferenceServerClient(f"127.0.0.1:{port}") as own:

        def is_refused() -> bool:
            try:
                return not own.is_server_live()
            except InferenceServerException:
                return True

        assert not is_refused()
        assert http.portal is not None
        http.portal.call(service.listener_closed.set)
        wait_until(is_refused)
        assert http.get("/live").status_code == 200


def test_a_version_with_a_slash_is_unknown(client: Any, jpeg: bytes) -> None:
    with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*unknown version '2/' of the model 'patterns'"):
        client.get_model_metadata("patterns", "2/", headers=HEADERS)
