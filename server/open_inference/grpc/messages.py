"""The protocol's messages, and their translation to and from the bodies of the HTTP interface."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.json_format import ParseDict

from model.exceptions import InvalidRequestError
from server.open_inference.infer_request import MAX_JSON_VALUES
from server.open_inference.tensors import join_elements

SERVICE = "inference.GRPCInferenceService"
MAX_ENTRIES = 100
"""Maximum entries of a list or map in a message: an empty input is two bytes, which translation turns into 650."""
MAX_ELEMENTS = {"bytes_contents": 10_000, "uint_contents": MAX_JSON_VALUES}
"""Maximum elements of a tensor: each is translated individually, as in JSON."""
Message = Any
"""A protobuf message; its class is created at run time."""


@cache
def message_class(name: str) -> Any:
    """The class of a message of the protocol, by its name without the package."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


def service_methods() -> list[Any]:
    """Descriptors of the methods of the service."""
    return list(_pool().FindServiceByName(SERVICE).methods)


@cache
def _pool() -> Any:
    """A separate descriptor pool: in the default one, Triton's client may have registered the same names."""
    content = files("server.open_inference.grpc").joinpath("open_inference.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        pool.Add(file)
    return pool


def parse_document(name: str, document: Any) -> Message:
    """The message with the fields of a JSON document; fields that exist only over HTTP are left out."""
    return ParseDict(document, message_class(name)(), ignore_unknown_fields=True)


def encode_request(request: Message) -> tuple[bytes, int]:
    """The body of an infer request with binary tensors, and the length of its JSON part. Raises InvalidRequestError."""
    _check_sizes(request)
    raws = list(request.raw_input_contents)
    contents = [entry for entry in request.inputs if entry.HasField("contents")]
    if raws and (contents or len(raws) != len(request.inputs)):
        raise InvalidRequestError("send each input in `contents`, or all of them in `raw_input_contents`")
    raws = raws or [_join_contents(entry) for entry in request.inputs]
    inputs = [
        {
            "name": entry.name,
            "datatype": entry.datatype,
            "shape": list(entry.shape),
            "parameters": {**_parameters(entry.parameters), "binary_data_size": len(raw)},
        }
        for entry, raw in zip(request.inputs, raws, strict=True)
    ]
    parameters = {**_parameters(request.parameters), "binary_data_output": True}
    document: dict[str, Any] = {"id": request.id, "inputs": inputs, "parameters": parameters}
    if request.outputs:
        document["outputs"] = [
            {"name": output.name, "parameters": {**_parameters(output.parameters), "binary_data": True}}
            for output in request.outputs
        ]
    head = json.dumps(document).encode()
    return head + b"".join(raws), len(head)


def decode_response(body: bytes, head_length: int) -> Message:
    """The ModelInferResponse of a body with binary tensors."""
    document, position = json.loads(body[:head_length]), head_length
    response = message_class("ModelInferResponse")(
        model_name=document["model_name"], model_version=document["model_version"], id=document.get("id", "")
    )
    for entry in document["outputs"]:
        size = entry["parameters"]["binary_data_size"]
        response.outputs.add(name=entry["name"], datatype=entry["datatype"], shape=entry["shape"])
        response.raw_output_contents.append(body[position : position + size])
        position += size
    return response


def parse_trace_settings(document: Mapping[str, Any]) -> Message:
    """The TraceSettingResponse of the JSON of the settings."""
    values = {name: value if isinstance(value, list) else [value] for name, value in document.items()}
    return parse_document(
        "TraceSettingResponse", {"settings": {name: {"value": value} for name, value in values.items()}}
    )


def parse_log_settings(document: Mapping[str, Any]) -> Message:
    """The LogSettingsResponse of the JSON of the settings."""
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    return parse_document(
        "LogSettingsResponse",
        {"settings": {name: {kinds[type(value)]: value} for name, value in document.items()}},
    )


def _check_sizes(request: Message) -> None:
    """Raise InvalidRequestError for more entries than any valid infer request has. The server limits its bytes."""
    _check_entries(request, "inputs", "outputs", "parameters", "raw_input_contents")
    for output in request.outputs:
        _check_entries(output, "parameters")
    for entry in request.inputs:
        _check_entries(entry, "parameters", "shape")
        for name, limit in MAX_ELEMENTS.items():
            if len(getattr(entry.contents, name)) > limit:
                raise InvalidRequestError(f"more than {limit:,} `{name}`: send the input in `raw_input_contents`")


def _check_entries(message: Message, *names: str) -> None:
    for name in names:
        if len(getattr(message, name)) > MAX_ENTRIES:
            raise InvalidRequestError(f"more than {MAX_ENTRIES} `{name}`: send only those that the model has")


def _parameters(parameters: Mapping[str, Message]) -> dict[str, Any]:
    """Values of parameters; None for one without a value, which the HTTP interface refuses."""
    fields = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items()}
    return {name: getattr(parameters[name], field) if field else None for name, field in fields.items()}


def _join_contents(entry: Message) -> bytes:
    """The binary form of a tensor that was sent as elements. Raises InvalidRequestError."""
    if entry.contents.bytes_contents:
        return join_elements(entry.contents.bytes_contents)
    try:
        return bytes(entry.contents.uint_contents)
    except ValueError:
        raise InvalidRequestError("`uint_contents` must be integers from 0 to 255") from None
