"""What only an index on Milvus (embedded, milvus-lite) does, and a server on one. The rest: tests/contract."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from index.backends import IndexUri, open_or_create, open_readonly
from index.protocol import SupportsCodes, SupportsCompaction, SupportsGpu, require_compaction, require_gpu
from model.artifacts.packed import unpack_bundled
from model.exceptions import DeviceError, IndexNotFoundError, InvalidRequestError
from tests.helpers.backends import make_artifact

pytest.importorskip("pymilvus", reason="pymilvus is in an environment of its own: make test-milvus")
pytest.importorskip("milvus_lite", reason="milvus-lite is in an environment of its own: make test-milvus")


def test_a_missing_collection(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError, match="no index at milvus:"):
        open_readonly(IndexUri.parse(f"milvus:{tmp_path}/none.db"))


def test_capabilities_that_milvus_does_not_have(tmp_path: Path) -> None:
    index = open_or_create(IndexUri.parse(f"milvus:{tmp_path}/images.db"), make_artifact())
    for capability in (SupportsCodes, SupportsGpu, SupportsCompaction):
        assert not isinstance(index, capability)
    with pytest.raises(DeviceError, match="can't be searched on a GPU"):
        require_gpu(index)
    with pytest.raises(InvalidRequestError, match="can't be verified or compacted"):
        require_compaction(index)
    index.close()


def test_a_process_that_starts_slowly_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import milvus_lite.server

    libraries = milvus_lite.server.BIN_PATH
    slow = tmp_path / "bin" / "milvus"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 2\nexport LD_LIBRARY_PATH="{libraries}"\nexec "{libraries}/milvus" "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("BIN_PATH", str(slow.parent))
    index = open_or_create(IndexUri.parse(f"milvus:{tmp_path}/images.db"), make_artifact())
    assert len(index) == 0
    index.close()


def test_a_server_on_milvus(tmp_path: Path) -> None:
    from server.app import create_app
    from server.service import Service
    from server.settings import Settings

    artifact = unpack_bundled("elpv", tmp_path / "artifacts")
    uri = f"milvus:{tmp_path}/cells.db"
    images = []
    for number in range(3):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (300, 300, 3), np.uint8)).save(buffer, "PNG")
        images.append(buffer.getvalue())
    with TestClient(create_app(Service(Settings(artifact=artifact.path, index=uri)))) as client:
        added = [client.post("/images", files={"image": data}, data={"label": "noise"}).json() for data in images]
        ids = [answer["images"][0]["id"] for answer in added]
        near = client.post("/similar?label=noise", content=images[1]).json()["neighbors"]
        assert (near[0]["id"], near[0]["distance"], len(near)) == (ids[1], 0, 3)
        assert client.delete(f"/images/{ids[1]}").status_code == 204
        assert client.get(f"/images/{ids[0]}/similar").json()["neighbors"][0]["id"] == ids[0]
        assert client.get(f"/images/{ids[1]}").status_code == 404
        assert client.patch(f"/images/{ids[1]}", json={"removed": False}).status_code == 200
        assert client.get("/info").json()["index"] == {"size": 3, "codes": None}
        assert client.get("/labels").json() == {"labels": [{"label": "noise", "images": 3}]}
        assert client.post("/similar?search=binary", content=images[0]).status_code == 422
