"""Fields are written and read as protocol buffers' own library does."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
from onnx import StringStringEntryProto, TensorProto

from model.protobuf_wire import bytes_field, read_fields, varint_field


def test_what_is_written() -> None:
    entry = bytes_field(1, b"key") + bytes_field(2, b"v" * 300)
    assert entry == StringStringEntryProto(key="key", value="v" * 300).SerializeToString()
    for number in (0, 127, 128, 2**31 - 1):
        tensor = TensorProto(data_type=number, raw_data=b"x")
        assert varint_field(2, number) + bytes_field(9, b"x") == tensor.SerializeToString()


def test_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(TensorProto(data_type=300, raw_data=b"weights", float_data=[1.5]).SerializeToString())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        fields = list(read_fields(content, slice(0, len(content))))
        values = [content[field.value] if isinstance(field.value, slice) else field.value for field in fields]
        assert [field.number for field in fields] == [2, 4, 9]
        assert values == [300, b"\x00\x00\xc0\x3f", b"weights"]
        assert b"".join(content[field.span] for field in fields) == path.read_bytes()
        with pytest.raises(ValueError, match="longer than its message"):
            list(read_fields(content, slice(0, len(content) - 1)))
