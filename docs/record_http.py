"""`python docs/record_http.py IMAGES`: ask a server every request of the HTTP reference, and keep the responses.

Writes docs/http_examples.json, from which docs/generate.py makes docs/http.md. IMAGES has one subfolder per class; the
network is that of ALEXNET_ARTIFACT, or the newest artifact below the working directory. Run it after a change of the
API: tests/project/test_generated.py compares the recorded responses with the OpenAPI document.
"""

from __future__ import annotations

import base64
import json
import shlex
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from index.build import build, find_images
from index.folder.store import FolderIndex
from model.artifacts import artifact as artifacts
from model.artifacts.default import choose_artifact
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings

TARGET = Path(__file__).with_name("http_examples.json")
ADDRESS = "http://127.0.0.1:8000"
KEY = "an-example-of-a-key"
MAX_ITEMS, MAX_TEXT, MAX_LINES = 2, 400, 8


@dataclass(frozen=True)
class Example:
    """A request: `images` are files of the form, `document` is JSON, `saved_as` names the file of a binary response."""

    operation: str
    path: str = ""
    images: tuple[str, ...] = ()
    document: dict[str, Any] | None = None
    saved_as: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    admin: bool = False

    @property
    def method(self) -> str:
        return self.operation.split()[0]

    @property
    def url(self) -> str:
        return self.path or self.operation.split()[1]

    def curl(self) -> str:
        """The same request as a line of the shell."""
        words = ["curl"]
        if self.method not in ("GET", "POST") or (self.method == "POST" and not self.images and self.document is None):
            words += ["-X", self.method]
        if self.admin:
            words += ["-H", "X-API-Key: KEY"]
        for name in self.images:
            words += ["-F", f"image=@{name}"]
        for name, value in self.fields.items():
            words += ["-F", f"{name}={value}"]
        if self.document is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(self.document)]
        return shlex.join([*words, ADDRESS + self.url, *(["-o", self.saved_as] if self.saved_as else [])])


REFUSED: dict[str, Any] = {"parameters": {}}
EXAMPLES = (
    Example("POST /classify", "/classify?top=2", images=("image.jpg",)),
    Example("POST /features", images=("image.jpg",)),
    Example("POST /similar", "/similar?k=2", images=("image.jpg",)),
    Example("GET /images/{image_id}/similar", "/images/1/similar?k=2&minus=5"),
    Example("POST /preview", images=("image.jpg",), saved_as="preview.png"),
    Example("GET /images/{image_id}/preview", "/images/1/preview", saved_as="preview.png"),
    Example("GET /labels"),
    Example("GET /images", "/images?limit=2"),
    Example("POST /images", images=("new.jpg",), fields={"label": "mine", "key": "shelf 3"}),
    Example("GET /images/{image_id}", "/images/1"),
    Example("PATCH /images/{image_id}", "/images/1", document={"label": "mine"}),
    Example("DELETE /images/{image_id}", "/images/2"),
    Example("GET /images/{image_id}/thumbnail", "/images/1/thumbnail", saved_as="thumbnail.jpg"),
    Example("GET /images/{image_id}/image", "/images/1/image", saved_as="original.jpg"),
    Example("DELETE /images", "/images?id=3&id=4"),
    Example("PATCH /images", document={"ids": [3, 4], "removed": False}),
    Example("POST /index/compact", admin=True),
    Example("GET /index/compact", admin=True),
    Example("POST /sync", "/sync?dry_run=true"),
    Example("GET /sync"),
    Example("GET /kernels", saved_as="kernels.png"),
    Example("GET /history"),
    Example("GET /live"),
    Example("GET /ready"),
    Example("GET /metrics"),
    Example("GET /info"),
    Example("POST /reload", admin=True),
    Example("GET /v2"),
    Example("GET /v2/health/live"),
    Example("GET /v2/health/ready"),
    Example("GET /v2/models/{name}", "/v2/models/NAME"),
    Example("GET /v2/models/{name}/ready", "/v2/models/NAME/ready"),
    Example("GET /v2/models/{name}/config", "/v2/models/NAME/config"),
    Example("GET /v2/models/{name}/stats", "/v2/models/NAME/stats"),
    Example("GET /v2/models/stats"),
    Example(
        "POST /v2/models/{name}/infer", "/v2/models/NAME/infer",
        document={
            "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["BASE64"]}],
            "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
        },
    ),
    Example("POST /v2/repository/index", document={}),
    Example("POST /v2/repository/models/{name}/load", "/v2/repository/models/NAME/load", document=REFUSED),
    Example("POST /v2/repository/models/{name}/unload", "/v2/repository/models/NAME/unload", document=REFUSED),
    Example("GET /v2/trace/setting"),
    Example("POST /v2/trace/setting", document={"trace_level": ["OFF"]}),
    Example("GET /v2/models/{name}/trace/setting", "/v2/models/NAME/trace/setting"),
    Example("POST /v2/models/{name}/trace/setting", "/v2/models/NAME/trace/setting", document={"trace_level": ["OFF"]}),
    Example("GET /v2/logging"),
    Example("POST /v2/logging", document={"log_info": True}),
    Example("GET /v2/cudasharedmemory/status"),
    Example("GET /v2/systemsharedmemory/status"),
    Example("POST /v2/cudasharedmemory/unregister", document={}),
    Example("POST /v2/systemsharedmemory/unregister", document={}),
    *(
        Example(f"POST /v2/{kind}/region/{{region}}/register", f"/v2/{kind}/region/a/register", document={})
        for kind in ("cudasharedmemory", "systemsharedmemory")
    ),
)  # fmt: skip


def main() -> None:
    """Build an index of the images, and record every example."""
    images = Path(sys.argv[1]).resolve()
    settings = Settings()
    artifact = artifacts.load(choose_artifact(settings.artifact, settings.home, print))
    with tempfile.TemporaryDirectory() as home:
        index_path = Path(home) / "index"
        with closing(FolderIndex.create(index_path, artifact)) as index:
            build(index, OnnxModel(artifact.network_path, "cpu"), find_images(images))
        recorded = {}
        for admin in (False, True):
            keys = f"admin:{KEY}" if admin else ""
            service = Service(Settings(artifact=artifact.path, index=str(index_path), sync_folder=images, keys=keys))
            with TestClient(create_app(service), base_url=ADDRESS) as client:
                for example in EXAMPLES:
                    if example.admin == admin:
                        recorded[example.operation] = _record(client, example, images, artifact.manifest.name)
    ordered = {example.operation: recorded[example.operation] for example in EXAMPLES}
    TARGET.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def _record(client: TestClient, example: Example, images: Path, name: str) -> dict[str, Any]:
    files = sorted(path for path in images.rglob("*") if path.is_file())
    query, new = files[0], files[-1].read_bytes() + b"\0"  # other bytes than those that are indexed
    bodies = {"image.jpg": query.read_bytes(), "new.jpg": new}
    headers = {"X-Request-ID": "example"} | ({"X-API-Key": KEY} if example.admin else {})
    document = None
    if example.document is not None:
        encoded = base64.b64encode(query.read_bytes()).decode()
        document = json.loads(json.dumps(example.document).replace("BASE64", encoded))
    response = client.request(
        example.method, example.url.replace("NAME", name), headers=headers, json=document, data=example.fields or None,
        files=[("image", (file, bodies[file])) for file in example.images] or None,
    )  # fmt: skip
    if example.operation in ("POST /sync", "POST /index/compact"):
        time.sleep(1)  # so that GET has something to say
    record: dict[str, Any] = {
        "request": example.curl().replace("NAME", name),
        "status": response.status_code,
        "type": response.headers.get("content-type", "").partition(";")[0],
    }
    if record["type"] == "application/json" and response.content:
        hidden = response.text.replace(str(images), "/home/me/images")
        record["response"] = _shorten(json.loads(hidden))
    elif record["type"].startswith("text/"):
        record["response"] = "\n".join(response.text.splitlines()[:MAX_LINES])
    elif response.content:
        record["bytes"] = len(response.content)
    return record


def _shorten(value: Any) -> Any:
    """The first items of long lists, the beginnings of long texts, and numbers of six digits."""
    if isinstance(value, dict):
        return {name: _shorten(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value[:MAX_ITEMS]]
    if isinstance(value, str):
        return value[:MAX_TEXT]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
