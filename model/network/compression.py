"""Compression of a trained network to a few megabytes (Han et al. 2016, "Deep Compression"), lossless after rounding.

`pack` rounds the weights of a network.onnx to multiples of a step per row (63 levels for the fully connected layers,
255 for the convolutions), in place, and writes a file from which `unpack` restores the same network.onnx. It holds the
ONNX file without its weights, the positions of the weights that pruning left, and their levels, all compressed with
LZMA. `unpack` needs neither torch nor onnx.
"""

from __future__ import annotations

import json
import lzma
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.exceptions import ArtifactError

MAGIC = b"ALEXPACK2"
MAX_CONV_LEVEL, MAX_LINEAR_LEVEL = 127, 31
"""A rounded weight is an integer of at most this magnitude, times the step of its row."""
MEAN_STEP = 1 / 64
ESCAPE = 255
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]


def pack(network: Path, target: Path) -> None:
    """Round the weights of `network` in place, and write the packed network to `target`. Needs the onnx package."""
    import onnx
    from onnx import numpy_helper

    from model.network.onnx_builder import constants

    model = onnx.load(str(network))
    tensors, streams, raws = list[dict[str, Any]](), list[bytes](), list[tuple[bytes, int]]()
    for name, copies in constants(model).items():
        if not (name.endswith(".weight") or name == "mean"):
            continue
        values = numpy_helper.to_array(copies[0])
        codes, steps = _round(name, values)
        for constant in copies:
            constant.raw_data = _values(codes, steps).tobytes()
        tensors.append({"name": name, "shape": list(values.shape)})
        streams += [steps.tobytes(), *_encode(codes)]
        raws.append((copies[0].raw_data, len(copies)))
    content = model.SerializeToString()
    network.write_bytes(content)
    rest, offsets = _cut_out(content, raws)
    header = json.dumps({"tensors": [t | {"offsets": o} for t, o in zip(tensors, offsets, strict=True)]}).encode()
    blocks = [lzma.compress(block, lzma.FORMAT_RAW, filters=_FILTERS) for block in (header, rest, *streams)]
    target.write_bytes(MAGIC + b"".join(struct.pack("<I", len(block)) + block for block in blocks))


def unpack(packed: bytes) -> bytes:
    """The network.onnx that `pack` rounded. Raises ArtifactError."""
    try:
        header, rest, *streams = _read_blocks(packed)
        tensors: list[dict[str, Any]] = json.loads(header)["tensors"]
        raws = []
        for number, tensor in enumerate(tensors):
            steps, gaps, levels = streams[3 * number : 3 * number + 3]
            codes = _decode(gaps, levels, tuple(tensor["shape"]))
            raws.append(_values(codes, np.frombuffer(steps, np.float32)).tobytes())
        return _put_back(rest, raws, [tensor["offsets"] for tensor in tensors])
    except (ValueError, KeyError, IndexError, lzma.LZMAError, struct.error) as error:
        raise ArtifactError("the packed network is damaged, or isn't a packed network") from error


def _cut_out(content: bytes, raws: Sequence[tuple[bytes, int]]) -> tuple[bytes, list[list[int]]]:
    """The content without constants, and the offsets at which to put each back. `raws`: bytes and copies of each."""
    pieces, position, length = list[bytes](), 0, 0
    offsets: list[list[int]] = [[] for _ in raws]
    places = [(start, n) for n, (raw, count) in enumerate(raws) for start in _find_copies(content, raw, count)]
    for start, number in sorted(places):
        pieces.append(content[position:start])
        length += start - position
        offsets[number].append(length)
        position = start + len(raws[number][0])
    return b"".join([*pieces, content[position:]]), offsets


def _put_back(rest: bytes, raws: Sequence[bytes], offsets: Sequence[Sequence[int]]) -> bytes:
    """The inverse of `_cut_out`."""
    pieces, position = list[bytes](), 0
    for offset, number in sorted((offset, n) for n, places in enumerate(offsets) for offset in places):
        pieces += [rest[position:offset], raws[number]]
        position = offset
    return b"".join([*pieces, rest[position:]])


def _find_copies(content: bytes, raw: bytes, count: int) -> list[int]:
    """Where each of the `count` copies of a constant begins."""
    places, position = [], 0
    for _ in range(count):
        places.append(content.index(raw, position))
        position = places[-1] + len(raw)
    return places


def _round(name: str, values: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The code of each weight, and the step of each row (or of the whole mean image)."""
    if name == "mean":
        return np.rint(values / MEAN_STEP).astype(np.int32), np.array([MEAN_STEP], np.float32)
    max_level = MAX_LINEAR_LEVEL if values.ndim == 2 else MAX_CONV_LEVEL
    rows = values.reshape(len(values), -1)
    steps = (np.abs(rows).max(1) / max_level).astype(np.float32)
    steps[steps == 0] = 1
    return np.rint(rows / steps[:, None]).astype(np.int32).reshape(values.shape), steps


def _values(codes: NDArray[np.int32], steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The float32 weights: one multiplication each, with the same result on every machine."""
    rows = codes.reshape(len(steps), -1).astype(np.float32) * steps[:, None]
    return rows.reshape(codes.shape)


def _encode(codes: NDArray[np.int32]) -> tuple[bytes, bytes]:
    """Gaps (zeros before each non-zero code), and codes; the mean image has no gaps, and two bytes per code."""
    flat = codes.ravel()
    if np.abs(flat).max() > 127:  # the mean image: differences of neighbors of the same color
        differences = np.diff(codes.reshape(-1, 3), axis=0, prepend=0).T.ravel()
        return b"", differences.astype("<i2").tobytes()
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    escapes = gaps // ESCAPE
    stream = np.full(int(escapes.sum()) + len(gaps), ESCAPE, np.uint8)
    stream[np.cumsum(escapes + 1) - 1] = gaps % ESCAPE
    return stream.tobytes(), flat[places].astype(np.int8).tobytes()


def _decode(gaps: bytes, levels: bytes, shape: tuple[int, ...]) -> NDArray[np.int32]:
    flat = np.zeros(int(np.prod(shape)), np.int32)
    if not gaps and levels:
        differences = np.frombuffer(levels, "<i2").astype(np.int32).reshape(3, -1).T
        return np.cumsum(differences, axis=0, dtype=np.int32).reshape(shape)
    stream = np.frombuffer(gaps, np.uint8).astype(np.int64)
    ends = np.cumsum(stream + (stream != ESCAPE))[stream != ESCAPE]
    flat[ends - 1] = np.frombuffer(levels, np.int8)
    return flat.reshape(shape)


def _read_blocks(packed: bytes) -> list[bytes]:
    if not packed.startswith(MAGIC):
        raise ValueError("not a packed network")
    blocks, position = [], len(MAGIC)
    while position < len(packed):
        (size,) = struct.unpack_from("<I", packed, position)
        block = packed[position + 4 : position + 4 + size]
        blocks.append(lzma.decompress(block, lzma.FORMAT_RAW, filters=_FILTERS))
        position += 4 + size
    return blocks
