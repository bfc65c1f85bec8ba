"""Answers to uploaded images: one answer for one image, a list for several, in which a failed image has its error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from model.exceptions import InvalidImageError
from server.exceptions import InferenceError
from server.limits.deadlines import gather_all
from server.request_context import RequestContext
from server.responses.error_handlers import image_error
from server.responses.schemas import ErrorResponse, Schema

Answer = TypeVar("Answer", bound=Schema)


async def answer_each(
    context: RequestContext, images: Sequence[bytes], answer: Callable[[bytes], Awaitable[Answer]]
) -> Answer | list[Answer | ErrorResponse]:
    """The answer to a single image, or the list of answers and errors for several, in their order.

    Raises what `answer` raises; for several images, only what ends the whole request, such as OverloadedError.
    """

    async def answer_or_error(data: bytes) -> Answer | ErrorResponse:
        try:
            return await answer(data)
        except (InvalidImageError, InferenceError) as error:
            return image_error(context.request, error)

    if len(images) == 1:
        return await context.run(answer(images[0]))
    return await context.run(gather_all([answer_or_error(data) for data in images]))
