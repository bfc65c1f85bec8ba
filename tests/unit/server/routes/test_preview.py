"""Previews, and Figure 3's kernels: the very pixels and weights."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from starlette.testclient import TestClient

from model.artifacts.artifact import NETWORK, Artifact
from model.artifacts.kernels import read_kernels, sheet
from model.exceptions import ArtifactError
from model.images.preprocess import decode_image
from model.network.onnx_builder import constants


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_preview_is_what_the_network_sees(client: TestClient, images: Path) -> None:
    upright = Image.open(images / "circles" / "03.jpg")
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    upright.save(file, "JPEG", exif=exif)
    preview = client.post("/preview", content=file.getvalue())
    assert preview.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(pixels(preview.content), decode_image(file.getvalue()).pixels)
    np.testing.assert_array_equal(decode_image(preview.content).pixels, decode_image(file.getvalue()).pixels)
    by_preview, by_file = (
        client.post("/classify", content=body).json()["predictions"] for body in (preview.content, file.getvalue())
    )
    assert [(p["name"], pytest.approx(p["probability"], abs=1e-6)) for p in by_preview] == [
        (p["name"], p["probability"]) for p in by_file
    ]


def test_the_preview_of_an_indexed_image(client: TestClient, images: Path) -> None:
    jpeg = (images / "stripes" / "04.jpg").read_bytes()
    number = client.post("/similar?k=1", content=jpeg).json()["neighbors"][0]["id"]
    preview = client.get(f"/images/{number}/preview")
    np.testing.assert_array_equal(pixels(preview.content), decode_image(jpeg).pixels)
    assert client.get("/images/4711/preview").status_code == 404


def test_no_preview_of_what_is_no_image(client: TestClient, images: Path) -> None:
    jpeg = (images / "stripes" / "04.jpg").read_bytes()
    assert client.post("/preview", content=b"no image").json()["error"]["code"] == "unsupported_image"
    assert client.post("/preview", content=jpeg[:2000]).json()["error"]["code"] == "invalid_image"
    both = [("image", ("a", jpeg)), ("image", ("b", jpeg))]
    assert client.post("/preview", files=both).json()["error"]["code"] == "invalid_body"


def test_the_kernels_are_the_network_s(client: TestClient, artifact: Artifact) -> None:
    weights = numpy_helper.to_array(constants(onnx.load(str(artifact.path / NETWORK)))["conv1.weight"][0])
    kernels = read_kernels(artifact.path / NETWORK)
    np.testing.assert_array_equal(kernels, weights.transpose(0, 2, 3, 1))
    shown = pixels(client.get("/kernels").content)
    np.testing.assert_array_equal(shown, sheet(kernels))
    assert shown.shape == (6 * 12 - 1, 16 * 12 - 1, 3)
    lowest, highest = (np.unravel_index(f(kernels), kernels.shape) for f in (np.argmin, np.argmax))
    for (number, row, column, color), value in ((lowest, 0), (highest, 255)):
        assert shown[12 * (number // 16) + row, 12 * (number % 16) + column, color] == value


@pytest.mark.parametrize("content", [b"\x00", b"no network" * 9, b"\x3a\x05abc", b"\xff" * 30])
def test_kernels_of_what_is_no_network(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NETWORK).write_bytes(content)
    with pytest.raises(ArtifactError, match="expected"):
        read_kernels(tmp_path / NETWORK)
