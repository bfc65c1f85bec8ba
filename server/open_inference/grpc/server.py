"""The gRPC server: the methods of the protocol, each a request to the HTTP application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from starlette.datastructures import Headers
from starlette.types import ASGIApp

from model.exceptions import AlexNetError
from server.connections.http_protocol import HEADER_TIMEOUT, max_grpc_connections
from server.connections.listening import join_address
from server.exceptions import BindError, OverloadedError, error_info
from server.limits.admission import Admission
from server.limits.deadlines import TIMEOUT_HEADER
from server.middleware.access_log import log_request
from server.middleware.request_id import read_ids
from server.observability.timing import Timings
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
"""The gRPC code for each HTTP status of an error; INTERNAL for the others."""
TRAILERS = ("retry-after", "x-request-id", "server-timing")
"""Headers of the response that become trailing metadata of the call."""
MESSAGE_OVERHEAD = 64 * 1024
"""Bytes of a message besides the images."""
UNAUTHENTICATED_METHODS = ("ServerLive", "ServerReady")
STREAM_IDLE_SECONDS = 300.0
"""Time for the next message of a stream to arrive."""
STOPPING = "the server is stopping: call again"


@asynccontextmanager
async def serve_grpc(app: ASGIApp, service: Service, port: int) -> AsyncIterator[int]:
    """Serve on the service's host while the block runs; port 0 picks a free one. Yields the port. Raises BindError.

    At the end, calls in flight are finished, or cancelled if they take too long; idle streams end at once.
    """
    settings = service.settings
    options = [
        ("grpc.max_receive_message_length", settings.max_body_bytes + MESSAGE_OVERHEAD),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else two servers may silently share a port
        ("grpc.max_allowed_incoming_connections", max_grpc_connections()),
        ("grpc.server_handshake_timeout_ms", int(1000 * HEADER_TIMEOUT)),
    ]
    server = grpc.aio.server(options=options)
    handler = ProtocolHandler(app, service)
    server.add_generic_rpc_handlers([handler])
    address = join_address(settings.host or "::", port)  # no host: all addresses, as for HTTP
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise BindError(f"cannot listen on {address}: choose another port with --grpc-port") from error
    await server.start()
    logger.info("gRPC at %s", join_address(settings.host, port))

    async def stop_with_http() -> None:
        """When HTTP stops listening, accept no more calls, and finish those that were accepted."""
        await service.listener_closed.wait()
        handler.end_idle_streams()
        await server.stop(service.remaining_shutdown_seconds)

    stopping = asyncio.create_task(stop_with_http())
    try:
        yield port
    finally:
        service.listener_closed.set()
        await stopping


class ProtocolHandler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call. A call with a missing or unknown key is refused before its message is read.

    Open calls, including idle streams, are limited like requests in flight, because each may hold a message before its
    bytes are counted, and a response until its client reads it. Health calls are not: their message isn't read.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        limit = service.settings.max_concurrent_requests
        self._open_calls = Admission(limit, suggest_retry_after=service.suggest_retry_after)
        self._handlers = {f"/{SERVICE}/{method.name}": self._make_handler(method) for method in service_methods()}
        self._stopping = asyncio.Event()

    def end_idle_streams(self) -> None:
        """From now on, end streams that wait for a message."""
        self._stopping.set()

    def service(self, handler_call_details: Any) -> Any:
        path: str = handler_call_details.method
        handler, method = self._handlers.get(path), path.rpartition("/")[2]
        if handler is None:
            reason = NO_SHARED_MEMORY if "SharedMemory" in method else f"this server doesn't implement {method[:80]}"
            return refuse(grpc.StatusCode.UNIMPLEMENTED, reason)
        if method not in UNAUTHENTICATED_METHODS:
            caller = Caller(handler_call_details.invocation_metadata, "")
            try:
                self._service.keys.require("read", key_of(Headers(raw=caller.headers)))
            except AlexNetError as error:
                self._count_refused(path, caller, error)
                return refuse(STATUS_CODES[error_info(type(error)).status], str(error))
        return handler

    def _make_handler(self, method: Any) -> Any:
        parse = message_class(method.input_type.name).FromString
        serialize = message_class(method.output_type.name).SerializeToString
        if method.name in UNAUTHENTICATED_METHODS:
            answer = partial(self._answer_health, method.name, message_class(method.input_type.name)())
            return grpc.stream_unary_rpc_method_handler(answer, parse, serialize)
        # all are streams, so that they read and write their messages themselves, each with a timeout
        is_stream = method.name == "ModelStreamInfer"
        answer_call = self._answer_stream if is_stream else partial(self._answer_call, method.name)
        admit = partial(self._admit, f"/{SERVICE}/{method.name}", answer_call)
        return grpc.stream_stream_rpc_method_handler(admit, parse, serialize)

    async def _admit(self, path: str, answer: Callable[[Any], Awaitable[None]], requests: Any, context: Any) -> None:
        """Answer a call, counted as one of its client's open calls. Aborts it if there are too many."""
        caller = Caller(context.invocation_metadata() or (), context.peer())
        client = self._service.client_of(key_of(Headers(raw=caller.headers)), caller.address)
        try:
            with self._open_calls.admit(client):
                await answer(context)
        except OverloadedError as error:
            self._count_refused(path, caller, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    def _count_refused(self, path: str, caller: Caller, error: AlexNetError) -> None:
        """Log and count a call that is refused before it becomes a request to the application."""
        info, timings = error_info(type(error)), Timings()
        self._service.metrics.observe_request(path, info.status, info.code, timings)
        request_id, trace_id = read_ids(Headers(raw=caller.headers))
        scope = {"path": path, "request_id": request_id, "trace_id": trace_id, "error_code": info.code}
        log_request(scope, "POST", info.status, {"total": timings.total})

    async def _answer_call(self, name: str, context: Any) -> None:
        """Answer a call that has a single message. Aborts it with a status if the response is an error."""
        request = await self._receive(context, self._service.settings.request_timeout)
        if request is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
        try:
            response = await self._send(name, request, context)
        except AlexNetError as error:
            await context.abort(STATUS_CODES[error_info(type(error)).status], str(error))
        _set_trailers(context, response)
        if response.status != 200 and not (name == "ModelReady" and response.is_not_ready):
            await context.abort(STATUS_CODES.get(response.status, grpc.StatusCode.INTERNAL), response.error)
        await self._write(context, METHODS[name].parse(response))

    async def _answer_health(self, name: str, request: Message, requests: Any, context: Any) -> Message:
        """Answer a health call. Its message has no fields, so an empty `request` stands in for it."""
        response = await self._send(name, request, context)
        _set_trailers(context, response)
        return METHODS[name].parse(response)

    async def _answer_stream(self, context: Any) -> None:
        """Answer messages one after the other; an error answers only its own message."""
        while (request := await self._receive(context, STREAM_IDLE_SECONDS, is_stream=True)) is not grpc.aio.EOF:
            await self._write(context, await self._answer_message(request, context))

    async def _answer_message(self, request: Message, context: Any) -> Message:
        """The answer to a message of a stream."""
        make, make_response = message_class("ModelStreamInferResponse"), message_class("ModelInferResponse")
        try:
            response = await self._send("ModelInfer", request, context)
        except AlexNetError as error:
            return make(error_message=str(error))
        if response.status == 200:
            return make(infer_response=METHODS["ModelInfer"].parse(response))
        return make(error_message=response.error, infer_response=make_response(id=request.id))

    async def _receive(self, context: Any, seconds: float, is_stream: bool = False) -> Message:
        """The next message, or grpc.aio.EOF. Aborts a call that sends none in time, and a stream that waits for one
        during a shutdown; the message of a single-message call is awaited even then, since the call was accepted."""
        read = asyncio.ensure_future(context.read())
        waits = [read, *([asyncio.ensure_future(self._stopping.wait())] if is_stream else [])]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_read = read.done()
            for task in waits:
                task.cancel()
        code, reason = grpc.StatusCode.DEADLINE_EXCEEDED, f"no message within {seconds:g} s: call again"
        if is_read:
            try:
                return read.result()
            except DecodeError as error:
                code, reason = grpc.StatusCode.INVALID_ARGUMENT, f"the message can't be parsed: {error}"
        elif is_stream and self._stopping.is_set():
            code, reason = grpc.StatusCode.UNAVAILABLE, STOPPING
        return await context.abort(code, reason)

    async def _write(self, context: Any, message: Message) -> None:
        """Send a message. Cancels a call whose client doesn't read it in time."""
        try:
            async with asyncio.timeout(self._service.settings.request_timeout):
                await context.write(message)
        except TimeoutError:
            raise asyncio.CancelledError from None  # gRPC then drops the call; no status can follow half a message

    async def _send(self, name: str, request: Message, context: Any) -> HttpResponse:
        """The response of the application. Raises AlexNetError for a message that isn't a valid request."""
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
