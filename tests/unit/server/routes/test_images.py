"""The index over HTTP: images are added, listed, labeled, removed and restored."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import urlencode
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from index.entries import MAX_ID, make_thumbnail
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.datasets.attribution import Attribution
from model.images.info import DecodedImage
from model.images.preprocess import decode_image
from server.app import create_app
from server.connections.http_protocol import MAX_HEADER_BYTES
from server.exceptions import InferenceError
from server.request_context import RequestContext
from server.service import Service
from server.settings import Settings
from tests.helpers.indexes import features_at, make_entry

WRITE, READ = "w" * 16, "r" * 16


def post(client: TestClient, images: list[bytes], **fields: list[str]) -> list[dict[str, object]]:
    files = [("image", ("a.jpg", data)) for data in images]
    answer = client.post("/images", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    result: list[dict[str, object]] = answer.json()["images"]
    return result


def test_added_images_are_found_at_once(
    writable_client: TestClient, new_images: list[bytes], artifact: Artifact, writable_folder: Path
) -> None:
    added = post(
        writable_client,
        [new_images[0], b"no image", new_images[1], new_images[0]],
        label=["new"],
        key=["a", "b", "c", "d"],
    )
    assert [entry.get("status") for entry in added] == ["added", None, "added", "exists"]
    assert added[1]["error"]["code"] == "unsupported_image"  # type: ignore[index]
    assert added[0]["id"] == added[3]["id"] == 34
    for data, place in ((new_images[0], 0), (new_images[1], 2)):
        nearest = writable_client.post("/similar?k=1", content=data).json()["neighbors"][0]
        assert (nearest["id"], nearest["label"]) == (added[place]["id"], "new")
        assert nearest["distance"] == pytest.approx(0, abs=1e-5)
    assert writable_client.get("/images/34").json()["key"] == "a"
    assert writable_client.get("/images/34").json()["image"] is None
    assert writable_client.get("/images/34/thumbnail").status_code == 200
    assert writable_client.get("/images/34/image").status_code == 404
    writable_client.__exit__(None, None, None)
    again = FolderIndex.open(writable_folder)  # as after a restart
    assert len(again) == 35
    again.close()


def test_labels_are_stored_and_found_in_their_composed_form(
    writable_client: TestClient, new_images: list[bytes], artifact: Artifact
) -> None:
    """As labels of folders are; names on macOS are decomposed."""
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    post(writable_client, new_images[:1], label=[decomposed])
    assert writable_client.get("/images/34").json()["label"] == composed
    for label in (decomposed, composed):
        params = {"label": label}
        assert [entry["id"] for entry in writable_client.get("/images", params=params).json()["images"]] == [34]
        neighbors = writable_client.post("/similar", params=params, content=new_images[0]).json()["neighbors"]
        assert [entry["id"] for entry in neighbors] == [34]
    changed = writable_client.patch("/images/1", json={"label": decomposed})
    assert changed.json()["label"] == composed
    many = writable_client.patch("/images", json={"with_label": decomposed, "label": decomposed + "s"})
    assert many.json()["changed"] == 2
    assert {"label": composed + "s", "images": 2} in writable_client.get("/labels").json()["labels"]
    assert writable_client.delete("/images", params={"label": decomposed + "s"}).json()["changed"] == 2


def test_thumbnails_and_checksums_do_not_block_the_event_loop(
    writable_client: TestClient, new_images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[str]()

    def note_thread(pixels: NDArray[np.uint8]) -> bytes:
        threads.append(threading.current_thread().name)
        return make_thumbnail(pixels)

    monkeypatch.setattr("index.entries.make_thumbnail", note_thread)
    post(writable_client, new_images[:1])
    assert [name.partition("_")[0] for name in threads] == ["decode"]


def test_one_broken_image_is_an_error(client: TestClient) -> None:
    assert client.post("/images", content=b"no image").status_code == 415
    assert client.get("/images").json()["index"]["size"] == 90


def test_listing_by_pages_and_label(client: TestClient) -> None:
    seen, cursor = [], 0
    while cursor is not None:
        page = client.get(f"/images?limit=40&cursor={cursor}").json()
        seen += [image["id"] for image in page["images"]]
        cursor = page["next_cursor"]
        assert (page["total"], page["has_more"]) == (90, cursor is not None)
    assert seen == list(range(1, 91))
    labeled = client.get("/images?label=circles").json()
    assert (len(labeled["images"]), labeled["total"], labeled["has_more"]) == (30, 30, False)
    assert client.get("/labels").json()["labels"] == [
        {"label": label, "images": 30} for label in ("checks", "circles", "stripes")
    ]


def test_removed_and_brought_back(writable_client: TestClient) -> None:
    assert writable_client.delete("/images/5").status_code == 204
    for path in ("/images/5", "/images/5/similar", "/images/5/thumbnail"):
        assert writable_client.get(path).status_code == 404
    assert writable_client.delete("/images/5").status_code == 404
    assert 5 not in [n["id"] for n in writable_client.get("/images/4/similar?k=40").json()["neighbors"]]
    assert writable_client.patch("/images/5", json={"removed": False}).json()["id"] == 5
    assert 5 in [n["id"] for n in writable_client.get("/images/4/similar?k=40").json()["neighbors"]]
    assert writable_client.patch("/images/5", json={"label": "odd"}).json()["label"] == "odd"
    assert [n["id"] for n in writable_client.get("/images/4/similar?label=odd").json()["neighbors"]] == [5]
    assert writable_client.patch("/images/5", json={"label": None}).json()["label"] is None
    removed = {"removed": True, "label": "x"}
    for wrong in ({"labels": "x"}, {"label": ""}, {"removed": "perhaps"}, {"removed": 0}, {"removed": True}, removed):
        assert writable_client.patch("/images/5", json=wrong).status_code == 422


def test_an_image_is_restored_and_relabeled_in_one_commit(
    writable_client: TestClient, writable_service: Service
) -> None:
    index, statements = writable_service.current.index, list[str]()
    assert isinstance(index, FolderIndex)
    index.remove(5)
    index.catalog._writer.set_trace_callback(statements.append)
    assert writable_client.patch("/images/5", json={"removed": False, "label": "odd"}).json()["label"] == "odd"
    assert statements.count("COMMIT") == 1


def test_a_repeated_field_is_refused(writable_client: TestClient) -> None:
    """The last one used to count silently."""
    for path, body in (
        ("/images/5", '{"label": "a", "label": "b"}'),
        ("/images", '{"ids": [5], "ids": [6], "label": "b"}'),
    ):
        answer = writable_client.patch(path, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
        assert "is repeated: send it once" in answer.json()["error"]["message"]
    assert "b" not in {entry["label"] for entry in writable_client.get("/images").json()["images"]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"ids": [1', "invalid JSON: Expecting ',' delimiter at character 10"),
        (b'{"label": "\xff"}', "the body is not JSON: it is not UTF-8"),
        (b'{"label": ' + b"[" * 9_000, "the JSON is nested too deeply"),
    ],
)
def test_why_a_body_is_no_json_is_said(body: bytes, message: str, client: TestClient) -> None:
    answer = client.patch("/images", content=body, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["message"]) == (422, "invalid_body", message)


def test_a_label_with_a_surrogate_is_refused(client: TestClient) -> None:
    body = b'{"with_label": "\\ud800", "removed": true}'  # valid in JSON, not in UTF-8
    answer = client.patch("/images", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "send valid UTF-8" in answer.json()["error"]["message"]


def label_counts(client: TestClient) -> dict[str, int]:
    return {entry["label"]: entry["images"] for entry in client.get("/labels").json()["labels"]}


def test_many_at_once(writable_client: TestClient, writable_folder: Path) -> None:
    client = writable_client
    assert label_counts(client) == {"checks": 11, "circles": 11, "stripes": 11}
    removed = client.delete("/images?label=checks").json()
    assert (removed["changed"], removed["unknown_ids"], removed["index"]["size"]) == (11, [], 22)
    two = client.delete("/images?id=12&id=13&id=1&id=999").json()
    assert (two["changed"], two["unknown_ids"]) == (2, [1, 999])
    update = {"ids": [12, 13, 14], "label": "mine", "removed": False}
    assert client.patch("/images", json=update).json()["changed"] == 3
    assert client.patch("/images", json={"with_label": "checks", "removed": False}).json()["changed"] == 11
    assert label_counts(client) == {"checks": 11, "circles": 8, "mine": 3, "stripes": 11}
    assert client.patch("/images", json={"with_label": "mine", "label": None}).json()["changed"] == 3
    assert client.patch("/images", json={"ids": list(range(1, 301)), "removed": True}).json()["changed"] == 33
    client.__exit__(None, None, None)
    with closing(FolderIndex.open(writable_folder)) as again:  # as after a restart
        assert len(again) == 0


def test_as_many_ids_and_keys_as_are_allowed_fit_in_a_request(writable_client: TestClient) -> None:
    ids, keys = [MAX_ID - number for number in range(300)], [str(uuid4()) for _ in range(300)]
    for selected in ({"ids": ids}, {"keys": keys}):
        changed = writable_client.patch("/images", json=selected | {"removed": True}).json()
        assert [*changed["unknown_ids"], *changed["unknown_keys"]] == list(*selected.values())
    for names in (urlencode({"id": ids}, doseq=True), urlencode({"key": keys}, doseq=True)):
        assert len(f"DELETE /images?{names} HTTP/1.1") < MAX_HEADER_BYTES - 1000
        assert writable_client.delete(f"/images?{names}").status_code == 200


def test_an_image_by_its_key(writable_client: TestClient, new_images: list[bytes]) -> None:
    client, key = writable_client, "shelf 3/größer"
    added = post(client, new_images[:2], key=[key, "b"])
    (image,) = (answer := client.get("/images", params={"key": key}).json())["images"]
    assert (image["id"], image["key"], image["similar"]) == (added[0]["id"], key, f"/images/{added[0]['id']}/similar")
    assert (answer["total"], answer["has_more"], answer["next_cursor"]) == (1, False, None)
    changed = client.patch("/images", json={"keys": [key, "c"], "label": "new"}).json()
    assert (changed["changed"], changed["unknown_ids"], changed["unknown_keys"]) == (1, [], ["c"])
    assert client.get(f"/images/{image['id']}").json()["label"] == "new"
    removed = client.delete("/images", params={"key": [key, "b", "c"]}).json()
    assert (removed["changed"], removed["unknown_keys"], removed["index"]["size"]) == (2, ["c"], 33)
    for unknown in (key, "c"):
        refused = client.get("/images", params={"key": unknown})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_image")
        assert refused.json()["error"]["message"] == f"no indexed image has the key '{unknown}'"
    assert client.patch("/images", json={"keys": [key], "removed": False}).json()["changed"] == 1
    assert client.get("/images", params={"key": key}).json()["images"][0] == {**image, "label": "new"}
    for other in ({"label": "new"}, {"cursor": 1}):
        refused = client.get("/images", params={"key": key, **other})
        assert (refused.status_code, "leave out 'label' and 'cursor'" in refused.text) == (422, True)


@pytest.mark.parametrize(
    ("method", "query", "update", "said"),
    [
        ("DELETE", "", None, "select the images by exactly one of 'id', 'key' (once for each image) and 'label'"),
        (
            "DELETE",
            "?id=1&label=checks",
            None,
            "select the images by exactly one of 'id', 'key' (once for each image) and 'label'",
        ),
        ("DELETE", "?id=0", None, "greater than or equal to 1"),
        ("DELETE", "?ids=1", None, "did you mean 'id'?"),
        ("PATCH", "", {"removed": True}, "select the images by exactly one of 'ids', 'keys' and 'with_label'"),
        (
            "PATCH",
            "",
            {"ids": [1], "with_label": "a", "removed": True},
            "select the images by exactly one of 'ids', 'keys' and",
        ),
        (
            "PATCH",
            "",
            {"ids": [1], "keys": ["a"], "removed": True},
            "select the images by exactly one of 'ids', 'keys' and",
        ),
        ("PATCH", "", {"keys": [], "removed": True}, "at least 1 item"),
        ("PATCH", "", {"keys": ["\0"], "removed": True}, "1 to 200 characters, no control characters"),
        (
            "DELETE",
            "?id=1&key=a",
            None,
            "select the images by exactly one of 'id', 'key' (once for each image) and 'label'",
        ),
        ("DELETE", "?key=a%00", None, "1 to 200 characters, no control characters"),
        ("PATCH", "", {"ids": [1]}, "send 'label', 'removed', or both"),
        ("PATCH", "/1", {}, "send 'label', 'removed', or both"),
        ("PATCH", "/1", {"removed": None}, "send 'label', 'removed', or both"),
        ("PATCH", "/1", {"removed": True}, "it can only be false, which restores the image: use DELETE to remove it"),
        ("PATCH", "", {"ids": [], "removed": True}, "at least 1 item"),
        ("PATCH", "", {"ids": [True], "removed": True}, "valid integer"),
        ("PATCH", "", {"ids": [1], "removed": 1}, "valid boolean"),
        ("PATCH", "", {"id": [1], "removed": True}, "id"),
        ("PATCH", "", {"ids": list(range(1, 302)), "removed": True}, "at most 300 items"),
    ],
)
def test_many_at_once_need_a_selection_and_a_change(
    client: TestClient, method: str, query: str, update: dict[str, object] | None, said: str
) -> None:
    answer = client.request(method, f"/images{query}", json=update)
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]
    assert client.get("/images").json()["index"]["size"] == 90


def test_head_of_an_original_is_checked_but_not_read_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(file: BinaryIO) -> NoReturn:
        raise AssertionError("the content is read for nobody")

    complete = client.get("/images/1/image")
    monkeypatch.setattr("server.routes.images.iter_chunks", read)
    head = client.head("/images/1/image")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.headers[name] == complete.headers[name]
    assert client.head("/images/1/image", headers={"If-None-Match": head.headers["etag"]}).status_code == 304


def test_fields_that_do_not_fit(client: TestClient, new_images: list[bytes]) -> None:
    files = [("image", ("a", data)) for data in new_images]
    for fields in ({"label": ["a", "b"]}, {"key": ["k"]}, {"label": [""]}, {"label": ["x" * 201]}, {"key": ["k"] * 3}):
        assert client.post("/images", files=files, data=fields).status_code == 422
    assert client.get("/images").json()["index"]["size"] == 90


def test_who_may_write(artifact: Artifact, writable_folder: Path, new_images: list[bytes]) -> None:
    service = Service(Settings(artifact=artifact.path, index=writable_folder, keys=f"read:{READ},write:{WRITE}"))
    with TestClient(create_app(service)) as client:
        calls = [("POST", "/images", new_images[0]), ("DELETE", "/images/1", b""), ("PATCH", "/images/1", b"{}")]
        for method, path, content in calls:
            for key, status in ((None, 401), (READ, 403)):
                headers = {"X-API-Key": key} if key else {}
                assert client.request(method, path, headers=headers, content=content).status_code == status
        assert client.post("/images", headers={"X-API-Key": WRITE}, content=new_images[0]).status_code == 200


def test_an_index_that_another_changes_is_only_read(
    artifact: Artifact, writable_folder: Path, new_images: list[bytes]
) -> None:
    with_lock = FolderIndex.create(writable_folder, artifact)
    for read_only in (False, True):
        settings = Settings(artifact=artifact.path, index=writable_folder, read_only=read_only)
        with TestClient(create_app(Service(settings))) as client:
            assert client.get("/images/1/similar").status_code == 200
            refused = client.post("/images", content=new_images[0])
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "read_only_index")
            assert str(writable_folder) not in refused.text
        with_lock.close()


def test_a_reload_keeps_the_index_that_is_changed(
    writable_service: Service, writable_client: TestClient, new_images: list[bytes]
) -> None:
    before = writable_service.current
    writable_client.portal.call(writable_service.reload)  # type: ignore[union-attr]
    assert writable_service.current is not before
    assert writable_service.current.index is before.index
    assert post(writable_client, [new_images[2]])[0]["status"] == "added"
    assert writable_client.get("/images/34/similar").status_code == 200


def test_an_indexed_image_its_thumbnail_and_its_file(client: TestClient, jpeg: bytes) -> None:
    first = client.post("/similar?k=1", content=jpeg).json()["neighbors"][0]
    image = client.get(first["url"]).json()
    assert (image["label"], image["format"], image["width"]) == ("stripes", "JPEG", 340)
    thumbnail = client.get(first["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert decode_image(thumbnail.content).info.width == 256
    file = client.get(image["image"])
    assert file.content == jpeg
    assert file.headers["content-type"] == "image/jpeg"


def test_a_browser_asks_whether_an_image_is_still_the_same(client: TestClient, jpeg: bytes) -> None:
    """Another index at the same address has other images under the same ids."""
    first = client.post("/similar?k=1", content=jpeg).json()["neighbors"][0]
    for path in (first["thumbnail"], f"{first['url']}/image", f"{first['url']}/preview"):
        response = client.get(path)
        assert response.headers["cache-control"] == "private, no-cache"
        tag = response.headers["etag"]
        assert hashlib.sha256(jpeg).hexdigest() in tag
        for known in ([tag], [f'"other", W/{tag}'], ["*"], ['"other"', tag]):
            again = client.get(path, headers=[("If-None-Match", value) for value in known])
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert client.get(path, headers={"If-None-Match": '"other"'}).content == response.content
    unknown = client.get("/images/999/thumbnail", headers={"If-None-Match": "*"})
    assert unknown.status_code == 404


def test_the_attribution_is_in_every_answer_about_an_image(artifact: Artifact, tmp_path: Path) -> None:
    author = Attribution("Ann", "https://a.example/ann", None, "CC BY 2.0")
    with closing(FolderIndex.create(tmp_path / "i", artifact)) as index:
        index.add(features_at(1, 2), [replace(make_entry(0), attribution=author), make_entry(1)])
    expected = {"author": "Ann", "author_page": "https://a.example/ann", "page": None, "license": "CC BY 2.0"}
    with TestClient(create_app(Service(Settings(artifact=artifact.path, index=tmp_path / "i")))) as client:
        assert [image["attribution"] for image in client.get("/images").json()["images"]] == [expected, None]
        assert client.get("/images/1").json()["attribution"] == expected
        neighbors = client.get("/images/2/similar").json()["neighbors"]
        assert {neighbor["id"]: neighbor["attribution"] for neighbor in neighbors} == {1: expected, 2: None}
        assert client.patch("/images/1", json={"label": "new"}).json()["attribution"] == expected


def test_a_read_only_server_shows_one_state_of_the_index(
    artifact: Artifact, writable_folder: Path, jpeg: bytes
) -> None:
    """Another program changes the index meanwhile; only a reload shows its changes."""
    service = Service(Settings(artifact=artifact.path, index=str(writable_folder), read_only=True))

    def read(client: TestClient) -> tuple[list[int], int, int, set[int], list[int], object]:
        listed = client.get("/images").json()
        ids = [image["id"] for image in listed["images"]]
        counts = client.get("/labels").json()["labels"]
        neighbors = client.post("/similar?k=100", content=jpeg).json()["neighbors"]
        statuses = [client.get(f"/images/{number}{part}").status_code
                    for number in (1, 2, 34) for part in ("", "/thumbnail", "/similar")]  # fmt: skip
        neighbor_ids = {neighbor["id"] for neighbor in neighbors}
        return ids, listed["total"], sum(count["images"] for count in counts), neighbor_ids, statuses, neighbors

    with TestClient(create_app(service)) as client, closing(FolderIndex.open(writable_folder, writable=True)) as writer:
        before = read(client)
        ids = list(range(1, 34))
        assert before[:5] == (ids, 33, 33, set(ids), [200] * 6 + [404] * 3)
        writer.add(features_at(1), [make_entry(1, "new")])
        writer.remove(1)
        writer.update(2, "other")
        writer.compact()
        assert read(client) == before
        client.portal.call(service.reload)  # type: ignore[union-attr]
        after = read(client)
        assert after[:5] == (list(range(2, 35)), 33, 33, set(range(2, 35)), [404] * 3 + [200] * 6)


def test_an_image_on_which_the_network_fails_does_not_keep_others_out(
    writable_client: TestClient, new_images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, calls = RequestContext.extract_feature, list[DecodedImage]()

    async def fail_once(self: RequestContext, image: DecodedImage) -> NDArray[np.float32]:
        calls.append(image)
        if len(calls) == 1:
            raise InferenceError("the network failed")
        return await extract(self, image)

    monkeypatch.setattr(RequestContext, "extract_feature", fail_once)
    answer = writable_client.post("/images", files=[("image", data) for data in new_images[:2]])
    assert answer.status_code == 200
    assert sorted("error" in item for item in answer.json()["images"]) == [False, True]


def test_labels_and_keys_may_all_have_their_full_length(writable_client: TestClient, new_images: list[bytes]) -> None:
    files = [("image", ("a.png", data)) for data in [*new_images[:2], *[b"no image"] * 14]]
    labels, keys = ["\U0001d11e" * 200] * 16, [f"{number:03}" + "\U0001d11e" * 197 for number in range(16)]
    answer = writable_client.post("/images", files=files, data={"label": labels, "key": keys})
    assert answer.status_code == 200, answer.text
    assert [item.get("status") for item in answer.json()["images"][:2]] == ["added", "added"]
    longer = writable_client.post("/images", files=files, data={"label": ["a" * 36_000]})
    assert (longer.status_code, "35,600 bytes in total" in longer.text) == (422, True)


def test_a_file_that_is_not_there_is_a_404_whatever_the_client_has(
    writable_client: TestClient, new_images: list[bytes]
) -> None:
    """An uploaded image has a thumbnail and no file."""
    post(writable_client, new_images[:1])
    tag = writable_client.get("/images/34/thumbnail").headers["etag"]
    for known in (tag, "*"):
        for name, status in (("thumbnail", 304), ("image", 404), ("preview", 404)):
            answer = writable_client.get(f"/images/34/{name}", headers={"If-None-Match": known})
            assert answer.status_code == status, (known, name)


def test_each_kind_of_image_has_a_tag_of_its_own(client: TestClient) -> None:
    tags = {client.get(f"/images/1/{path}").headers["etag"] for path in ("image", "preview", "thumbnail")}
    assert len(tags) == 3
