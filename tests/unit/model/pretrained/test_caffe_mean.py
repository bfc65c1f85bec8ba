"""Mean images of Caffe networks: a file that isn't one is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.exceptions import ArtifactError
from model.pretrained.caffe_mean import read_mean
from model.protobuf_wire import bytes_field, varint
from tests.helpers import pretrained_files
from tests.helpers.numpy_files import npy

MANY_NUMBERS = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 256, 100000000000)}"
TEXTS = b"{'descr': '<U1', 'fortran_order': False, 'shape': (3, 256, 256)}"
TWO_IMAGES = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 256, 256)}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mean.binaryproto", b"<html>", "isn't a mean image"),
        ("mean.npy", b"<html>", "isn't a mean image"),
        ("mean.npy", npy(b"[" * 500), "isn't a mean image"),
        ("mean.npy", npy(MANY_NUMBERS), "isn't a mean image"),
        ("mean.npy", npy(TEXTS, bytes(4 * 3 * 256 * 256)), "isn't a mean image: it isn't an array of real numbers"),
        ("mean.npy", npy(TWO_IMAGES, bytes(2 * 4 * 3 * 256 * 256)), r"got \(2, 3, 256, 256\)"),
        ("mean.binaryproto", pretrained_files.binaryproto(np.zeros((3, 8, 8), np.float32)), r"got \(3, 8, 8\)"),
        (
            "mean.binaryproto",
            pretrained_files.binaryproto(np.full((3, 256, 256), -9, np.float32)),
            "has values outside of 0 to 255",
        ),
        (
            "mean.binaryproto",
            pretrained_files.binaryproto(np.full((3, 256, 256), 256, np.float32)),
            "has values outside of 0 to 255",
        ),
    ],
)
def test_what_is_no_mean_image(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_mean(tmp_path / name)


def test_a_mean_image_of_newer_caffe_has_a_shape_of_its_own(tmp_path: Path) -> None:
    """Instead of the number of images, channels, rows and columns."""
    values = np.random.default_rng(0).uniform(0, 255, (3, 256, 256)).astype(np.float32)
    shape = bytes_field(1, b"".join(varint(side) for side in (1, 3, 256, 256)))
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(bytes_field(5, values.tobytes()) + bytes_field(7, shape))
    np.testing.assert_array_equal(read_mean(path), values[::-1].transpose(1, 2, 0))
