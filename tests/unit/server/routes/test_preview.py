"""Previews and Figure 3's kernels: exactly the network's pixels and weights."""

from __future__ import annotations

import io
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from starlette.testclient import TestClient

from model.artifacts.artifact import MANIFEST, NETWORK, Artifact
from model.artifacts.kernels import KERNELS, draw_sheet, read_kernels
from model.exceptions import ArtifactError
from model.images.contract import ImageContract
from model.images.preprocess import decode_image
from model.network.onnx_builder import constants
from server.app import create_app
from server.service import Service
from server.settings import Settings


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_preview_is_what_the_network_sees(client: TestClient, images: Path) -> None:
    upright = Image.open(images / "circles" / "03.jpg")
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # needs a quarter turn
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


def test_a_preview_of_less_detail_is_reduced_once_more(
    client: TestClient, artifact: Artifact, images: Path, tmp_path: Path
) -> None:
    """So the API reference promises the same result only for a network of full detail."""
    reduced, jpeg = ImageContract(32), (images / "stripes" / "04.jpg").read_bytes()
    shutil.copytree(artifact.path, tmp_path / "copy")
    manifest = artifact.manifest.model_copy(update={"image_contract": reduced.name})
    (tmp_path / "copy" / MANIFEST).write_text(manifest.model_dump_json())
    with TestClient(create_app(Service(Settings(artifact=tmp_path / "copy", home=tmp_path)))) as other:
        preview = other.post("/preview", content=jpeg).content
    np.testing.assert_array_equal(pixels(preview), decode_image(jpeg, contract=reduced).pixels)
    assert not np.array_equal(decode_image(preview, contract=reduced).pixels, pixels(preview))
    description = client.get("/openapi.json").json()["paths"]["/preview"]["post"]["description"]
    assert "With a network of full detail, `/classify` and `/similar` give the same result" in description


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
    kernels = read_kernels(artifact)
    assert kernels is not None
    np.testing.assert_array_equal(kernels, weights.transpose(0, 2, 3, 1))
    shown = pixels(client.get("/kernels").content)
    np.testing.assert_array_equal(shown, draw_sheet(kernels))
    assert shown.shape == (-(-len(kernels) // 16) * 12 - 1, 16 * 12 - 1, 3)
    lowest, highest = (np.unravel_index(f(kernels), kernels.shape) for f in (np.argmin, np.argmax))
    for (number, row, column, color), value in ((lowest, 0), (highest, 255)):
        assert shown[12 * (number // 16) + row, 12 * (number % 16) + column, color] == value


def test_no_figure_without_kernels(artifact: Artifact, tmp_path: Path) -> None:
    files = {name: record for name, record in artifact.manifest.files.items() if name != KERNELS}
    shutil.copytree(artifact.path, tmp_path / "copy", ignore=shutil.ignore_patterns(KERNELS))
    manifest = artifact.manifest.model_copy(update={"files": files})
    (tmp_path / "copy" / MANIFEST).write_text(manifest.model_dump_json())
    with TestClient(create_app(Service(Settings(artifact=tmp_path / "copy", home=tmp_path)))) as without:
        response = without.get("/kernels")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "no_kernels")
        assert without.get("/info").status_code == 200


def test_an_artifact_that_is_deleted_while_it_is_served(artifact: Artifact, jpeg: bytes, tmp_path: Path) -> None:
    shutil.copytree(artifact.path, tmp_path / "copy")
    with TestClient(create_app(Service(Settings(artifact=tmp_path / "copy", home=tmp_path)))) as client:
        shutil.rmtree(tmp_path / "copy")
        for path in ("/kernels", "/history", "/info", "/v2/models/patterns/config"):
            assert client.get(path).status_code == 200, path
        assert client.post("/classify", content=jpeg).status_code == 200
        assert client.get("/history").json()["history"] is not None


def kernels_of(count: int) -> bytes:
    """The header of a .npy file of `count` kernels."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 11, 11, 3)}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    "content", [b"\x00", b"no array" * 9, b"\x93NUMPY\x01\x00", kernels_of(96), kernels_of(10**9), kernels_of(10**30)]
)
def test_damaged_kernels_are_named(artifact: Artifact, content: bytes, tmp_path: Path) -> None:
    (tmp_path / KERNELS).write_bytes(content)
    with pytest.raises(ArtifactError, match="isn't an array of kernels"):
        read_kernels(replace(artifact, path=tmp_path))
