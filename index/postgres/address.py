"""PostgresAddress: the database and schema of an index, and how they are shown without a password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from model.exceptions import InvalidRequestError

SCHEMES = ("postgresql://", "postgres://")
DEFAULT_SCHEMA = "alexnet"
_SCHEMA_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_USER_PASSWORD = re.compile(r"(?<=//)([^/@:]*):.*@", re.DOTALL)
_PARAMETER = re.compile(r"([?&]([^?&=]*)=)([^&]*)")
_PASSWORDS = ("password", "sslpassword")


@dataclass(frozen=True)
class PostgresAddress:
    """Location of an index. `connection_uri`: what libpq connects to. `schema`: the schema of its tables.

    `shown`: the text that was parsed, without passwords, since it is logged and shown to clients.
    """

    connection_uri: str = field(repr=False)
    schema: str
    shown: str

    @classmethod
    def parse(cls, text: str) -> PostgresAddress:
        """Parse `postgresql://USER@HOST/DATABASE`, with libpq's parameters and `schema`. Raises InvalidRequestError."""
        shown = hide_password(text)
        base, _, query = text.partition("?")
        parameters = [part for part in query.split("&") if part]
        schemas = [part.removeprefix("schema=") for part in parameters if part.startswith("schema=")]
        database = base.partition("://")[2].partition("/")[2]
        if not database or "/" in database or "#" in text or len(schemas) > 1:
            raise InvalidRequestError(
                f"invalid index {shown[:200]!r}: give postgresql://USER@HOST:PORT/DATABASE, with ?schema=NAME for one "
                "of several indexes"
            )
        schema = schemas[0] if schemas else DEFAULT_SCHEMA
        if not _SCHEMA_NAME.fullmatch(schema):
            raise InvalidRequestError(
                f"invalid schema {schema[:80]!r}: use up to 63 lowercase letters, digits and underscores, not "
                "starting with a digit or pg_"
            )
        rest = "&".join(part for part in parameters if not part.startswith("schema="))
        return cls(f"{base}?{rest}" if rest else base, schema, shown)

    def __str__(self) -> str:
        return self.shown


def is_postgres(text: str) -> bool:
    """Whether a text is the address of an index on PostgreSQL."""
    return text.startswith(SCHEMES)


def hide_password(uri: str) -> str:
    """The same URI with `***` in place of passwords."""
    return _PARAMETER.sub(_hide_parameter, _USER_PASSWORD.sub(r"\1:***@", uri))


def _hide_parameter(parameter: re.Match[str]) -> str:
    start, name, value = parameter.groups()
    is_password = unquote(name).lower() in _PASSWORDS  # as libpq parses names
    return start + ("***" if is_password else _PARAMETER.sub(_hide_parameter, value))
