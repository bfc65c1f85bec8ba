"""The gRPC server: the methods of the protocol, each a request to the HTTP application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
from starlette.datastructures import Headers
from starlette.types import ASGIApp

from model.exceptions import AlexNetError, InvalidRequestError
from server.connections.listening import join_address
from server.exceptions import BindError, OverloadedError, error_info
from server.limits.admission import Admission
from server.limits.deadlines import TIMEOUT_HEADER
from server.open_inference.grpc.calls import Caller, HttpResponse, send_request
from server.open_inference.grpc.messages import SERVICE, Message, message_class, service_methods
from server.open_inference.grpc.methods import METHODS
from server.open_inference.infer_request import NO_SHARED_MEMORY
from server.security import key_of
from server.service import Service

logger = logging.getLogger(__name__)

STATUS_CODES = {
    400: grpc.StatusCode.UNIMPLEMENTED,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""gRPC's code for each status of an error; INTERNAL for the others."""
TRAILERS = ("retry-after", "x-request-id", "server-timing")
"""Headers of the response that are trailing metadata of the call."""
MESSAGE_OVERHEAD = 64 * 1024
"""Bytes of a message besides the images."""
WITHOUT_KEY = ("ServerLive", "ServerReady")
STREAM_IDLE_SECONDS = 300.0
"""For the next message of a stream."""


@asynccontextmanager
async def serve_grpc(app: ASGIApp, service: Service, port: int) -> AsyncIterator[int]:
    """Serve on the service's host while the block runs; port 0 picks a free one. Yields the port. Raises BindError.

    At the end calls in flight are finished, those that take too long are cancelled.
    """
    settings = service.settings
    options = [
        ("grpc.max_receive_message_length", settings.max_body_bytes + MESSAGE_OVERHEAD),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else two servers may share a port without a word
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers([ProtocolHandler(app, service)])
    address = join_address(settings.host or "::", port)  # no host: all addresses, as of HTTP
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise BindError(f"cannot listen on {address}: choose another port with --grpc-port") from error
    await server.start()
    logger.info("gRPC at %s", join_address(settings.host, port))
    try:
        yield port
    finally:
        await server.stop(service.seconds_to_finish)


class ProtocolHandler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call. A key that is missing or unknown is refused before the message is read.

    Open calls, idle streams too, are limited as requests in flight are, because each may hold a message before its
    bytes are counted. Health calls are not: their message isn't read.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        settings = service.settings
        self._open_calls = Admission(
            settings.max_concurrent_requests, settings.max_inflight_bytes, service.suggest_retry_after
        )
        self._handlers = {f"/{SERVICE}/{method.name}": self._make_handler(method) for method in service_methods()}

    def service(self, handler_call_details: Any) -> Any:
        path: str = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            method = path.rpartition("/")[2][:80]
            reason = NO_SHARED_MEMORY if "SharedMemory" in method else f"this server doesn't have {method}"
            return refuse(grpc.StatusCode.UNIMPLEMENTED, reason)
        if path.rpartition("/")[2] not in WITHOUT_KEY:
            headers = Headers(raw=Caller(handler_call_details.invocation_metadata, "").headers)
            try:
                self._service.keys.require("read", key_of(headers))
            except AlexNetError as error:
                return refuse(STATUS_CODES[error_info(type(error)).status], str(error))
        return handler

    def _make_handler(self, method: Any) -> Any:
        parse = message_class(method.input_type.name).FromString
        serialize = message_class(method.output_type.name).SerializeToString
        if method.name == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(partial(self._admit, self._answer_stream), parse, serialize)
        if method.name in WITHOUT_KEY:
            answer = partial(self._answer_health, method.name, message_class(method.input_type.name)())
        else:
            answer = partial(self._admit, partial(self._answer_call, method.name))
        return grpc.stream_unary_rpc_method_handler(answer, parse, serialize)  # so that they read the message

    async def _admit(self, answer: Callable[[Any], Awaitable[Message | None]], requests: Any, context: Any) -> Any:
        """Answer a call, as one of the open calls of its client. Aborts it where there are too many."""
        caller = Caller(context.invocation_metadata() or (), context.peer())
        client = self._service.client_of(key_of(Headers(raw=caller.headers)), caller.address)
        try:
            with self._open_calls.admit(client):
                return await answer(context)
        except OverloadedError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _answer_call(self, name: str, context: Any) -> Message:
        """Answer a call of one message. Aborts it with a status where the response is an error."""
        request = await self._receive(context, self._service.settings.request_timeout)
        if request is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
        try:
            response = await self._send(name, request, context)
        except InvalidRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        _set_trailers(context, response)
        if response.status != 200 and not (name == "ModelReady" and response.is_not_ready):
            await context.abort(STATUS_CODES.get(response.status, grpc.StatusCode.INTERNAL), response.error)
        return METHODS[name].parse(response)

    async def _answer_health(self, name: str, request: Message, requests: Any, context: Any) -> Message:
        """Answer a health call, whose message has no fields: `request` stands for it."""
        response = await self._send(name, request, context)
        _set_trailers(context, response)
        return METHODS[name].parse(response)

    async def _answer_stream(self, context: Any) -> None:
        """Answer messages one after the other; an error is the answer to one of them."""
        while (request := await self._receive(context, STREAM_IDLE_SECONDS)) is not grpc.aio.EOF:
            await context.write(await self._answer_message(request, context))

    async def _answer_message(self, request: Message, context: Any) -> Message:
        """The answer to a message of a stream."""
        make, make_response = message_class("ModelStreamInferResponse"), message_class("ModelInferResponse")
        try:
            response = await self._send("ModelInfer", request, context)
        except InvalidRequestError as error:
            return make(error_message=str(error))
        if response.status == 200:
            return make(infer_response=METHODS["ModelInfer"].parse(response))
        return make(error_message=response.error, infer_response=make_response(id=request.id))

    async def _receive(self, context: Any, seconds: float) -> Message:
        """The next message, or grpc.aio.EOF. Aborts a call that sends none in time."""
        try:
            async with asyncio.timeout(seconds):
                return await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no message within {seconds:g} s: call again")

    async def _send(self, name: str, request: Message, context: Any) -> HttpResponse:
        """The response of the application. Raises InvalidRequestError for a message that is no request."""
        method = METHODS[name]
        headers, body = method.encode(request)
        remaining = context.time_remaining()
        if remaining is not None:
            headers.append((TIMEOUT_HEADER.lower().encode(), f"{max(remaining, 0.001):.3f}".encode()))
        caller = Caller(context.invocation_metadata() or (), context.peer())
        verb = "POST" if method.is_post(request) else "GET"
        return await send_request(self._app, caller, verb, method.path(request), headers, body)


def _set_trailers(context: Any, response: HttpResponse) -> None:
    context.set_trailing_metadata([(key, response.headers[key]) for key in TRAILERS if key in response.headers])


def refuse(code: grpc.StatusCode, message: str) -> Any:
    """A handler that ends a call without reading its messages."""

    async def abort(requests: Any, context: Any) -> None:
        await context.abort(code, message)

    return grpc.stream_unary_rpc_method_handler(abort)
