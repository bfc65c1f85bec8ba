"""The table of errors: each exception has a status and a code, even one without an entry."""

from __future__ import annotations

import inspect
import re
from collections import Counter

from model import exceptions as lower
from model.exceptions import AlexNetError, ArtifactError, ImageTooLargeError, UnsupportedImageError
from server import exceptions
from server.exceptions import DOMAIN_ERRORS, INTERNAL_ERROR, ServerError, error_info
from server.page import WEB
from tests.helpers.errors import all_errors


def test_every_server_error_has_attributes_of_its_own() -> None:
    for kind in ServerError.__subclasses__():
        assert {"status", "code", "description"} <= set(vars(kind)), kind
        assert 400 <= kind.status <= 599


def test_codes_are_unique() -> None:
    repeated = [code for code, count in Counter(error.code for error in all_errors()).items() if count > 1]
    assert not repeated


def test_a_subclass_has_its_own_entry() -> None:
    assert error_info(ImageTooLargeError).status == 413
    assert error_info(UnsupportedImageError).status == 415


def test_an_exception_without_an_entry_is_an_internal_error() -> None:
    class NewError(AlexNetError):
        """An error of a package below that was forgotten in the table."""

    assert error_info(NewError) == error_info(ArtifactError) == error_info(ValueError) == INTERNAL_ERROR


def test_the_table_names_exceptions_of_the_packages_below() -> None:
    declared = {kind for _, kind in inspect.getmembers(lower, inspect.isclass)}
    assert set(DOMAIN_ERRORS) <= declared
    assert not any(issubclass(kind, ServerError) for kind in declared)
    assert all(kind.__module__ == exceptions.__name__ for kind in ServerError.__subclasses__())


def test_the_page_knows_only_codes_and_statuses_of_the_table() -> None:
    codes, statuses = ({getattr(error, name) for error in all_errors()} for name in ("code", "status"))
    (listed,) = re.findall(r"\[([^]]+)\]\.includes\(error\.code\)", (WEB / "api.js").read_text())
    assert set(re.findall(r'"(\w+)"', listed)) <= codes
    (fatal,) = re.findall(r"FATAL_STATUSES = \[([\d, ]+)\]", (WEB / "upload.js").read_text())
    assert {int(status) for status in fatal.split(",")} - {0} <= statuses
