"""Multipart forms, parsed in memory as they arrive; nothing is written to disk.

The size of a form is bounded like any body's (see `server.request_body.uploads`); this module bounds parts, their
headers, and text fields.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from index.entries import MAX_TEXT_LENGTH
from server.exceptions import InvalidBodyError, InvalidHeaderError

TEXT_BYTES, TEXT_BYTES_PER_IMAGE = 10_000, 2 * 4 * MAX_TEXT_LENGTH
"""Maximum bytes of all form fields that aren't images: parameters, and each image's label and key in UTF-8."""
MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 2048
CHARSETS = (b"utf-8", b"utf8", b"us-ascii")
TRANSFER_ENCODINGS = (b"", b"binary", b"8bit", b"7bit")


def check_text_bytes(count: int, max_images: int) -> None:
    """Raise InvalidBodyError if the texts of a form with up to `max_images` images have too many bytes in total."""
    limit = TEXT_BYTES + TEXT_BYTES_PER_IMAGE * max_images
    if count > limit:
        raise InvalidBodyError(f"the form's text fields exceed {limit:,} bytes in total: send less text")


@dataclass
class Part:
    """A part of a form. `file_name`: as the client gave it; None for a part without one."""

    name: str
    file_name: str | None
    data: bytearray = field(default_factory=bytearray)

    @property
    def is_empty_input(self) -> bool:
        """Whether it is what browsers send for a file input with no file chosen."""
        return self.file_name == "" and not self.data

    @property
    def text(self) -> str:
        """The part as text. Raises InvalidBodyError."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise InvalidBodyError(f"the form field '{self.name[:80]}' is not UTF-8: send text in UTF-8") from None


async def parse_form(content_type: str, stream: AsyncIterable[bytes], file_field: str, max_files: int) -> list[Part]:
    """The parts of a form. `file_field`: the name of the field with files; other fields are short texts.

    Raises InvalidBodyError, InvalidHeaderError, and what `stream` raises.
    """
    parameters = parse_options_header(content_type)[1]
    charset = parameters.get(b"charset", b"utf-8")
    if charset.lower() not in CHARSETS:
        shown = charset[:40].decode("latin-1")
        raise InvalidHeaderError(f"unsupported charset {shown!r}: send the multipart body in UTF-8")
    if not parameters.get(b"boundary"):
        raise InvalidHeaderError("the header Content-Type has no boundary: let your HTTP library set it")
    form = _Form(file_field, max_files)
    try:
        parser = form.make_parser(parameters[b"boundary"])
        async for chunk in stream:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise InvalidBodyError("the multipart body is malformed: let your HTTP library build it") from error
    if not form.complete:
        raise InvalidBodyError("the multipart body ends before its last boundary: send it in full")
    return form.parts


class _Form:
    """Collects the parts of one form."""

    def __init__(self, file_field: str, max_files: int) -> None:
        self.file_field, self.max_files = file_field, max_files
        self.parts: list[Part] = []
        self.complete = False
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._text_bytes = 0

    def make_parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        disposition = parse_options_header(self._headers.get(b"content-disposition"))[1]
        if b"name" not in disposition:
            raise InvalidBodyError("a part of the form has no name: send Content-Disposition: form-data; name=NAME")
        encoding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in TRANSFER_ENCODINGS:
            shown = encoding[:40].decode("latin-1")
            raise InvalidBodyError(f"unsupported Content-Transfer-Encoding {shown!r}: send the raw bytes")
        file_name = disposition.get(b"filename")
        self.parts.append(
            Part(
                disposition[b"name"].decode(errors="replace"),
                None if file_name is None else file_name.decode(errors="replace"),
            )
        )
        self._check_number()

    def _check_number(self) -> None:
        files = sum(part.name == self.file_field for part in self.parts)
        texts = len(self.parts) - files
        if files > self.max_files:
            raise InvalidBodyError(f"too many images: send up to {self.max_files} in the field '{self.file_field}'")
        if texts > 4 * self.max_files + 100:
            raise InvalidBodyError(f"too many fields: {texts}")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        if part.name != self.file_field:
            self._text_bytes += end - start
            if part.file_name is None:  # a file in an unknown field is refused by that name later
                check_text_bytes(self._text_bytes, self.max_files)
        part.data += data[start:end]

    def _on_end(self) -> None:
        self.complete = True
