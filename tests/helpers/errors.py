"""Every error of the server's table."""

from __future__ import annotations

from server.exceptions import DOMAIN_ERRORS, FRAMEWORK_ERRORS, ErrorInfo, ServerError, error_info


def all_errors() -> list[ErrorInfo]:
    """Every error that a response can carry."""
    return [*map(error_info, ServerError.__subclasses__()), *DOMAIN_ERRORS.values(), *FRAMEWORK_ERRORS]
