"""Deployment files match their schemas, and the commands, settings, endpoints and metrics in them exist."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.process.server import CLOSE_SECONDS
from server.service import Service
from server.settings import Settings
from tests.helpers.server import served_in_thread

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.31"
METRIC, PARTS = re.compile(r"\balexnet_[a-z_]+"), re.compile("_(sum|count|bucket)$")
FROM_THE_ADAPTER = {"alexnet_queue_seconds"}


def documents(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob("*.yaml")):
        if file.name != "kustomization.yaml":
            yield from yaml.safe_load_all(file.read_text())


def container() -> dict[str, Any]:
    (deployment,) = [d for d in documents(DEPLOY / "kubernetes" / "base") if d["kind"] == "Deployment"]
    first: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return first


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return content


def test_hadolint() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("compose-spec", "compose.yaml"),
        ("dependabot", ".github/dependabot.yml"),
        ("github-workflows", ".github/workflows/ci.yml"),
    ],
)
def test_file_matches_its_schema(schema: str, file: str) -> None:
    check = Path(sys.executable).parent / "check-jsonschema"
    words = [str(check), "--builtin-schema", f"vendor.{schema}", str(ROOT / file)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("document", list(documents(DEPLOY / "kubernetes" / "base")), ids=lambda d: d["kind"])
def test_kubernetes_schema(document: dict[str, Any]) -> None:
    if document["kind"] == "Deployment":  # kustomize adds the labels and this selector
        labels = {"app.kubernetes.io/name": "alexnet-server"}
        document["spec"]["selector"] = {"matchLabels": labels}
        document["spec"]["template"]["metadata"]["labels"] = labels
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("overlay", "database", "uri"),
    [("base", "", ""), ("milvus", "Milvus", "milvus://"), ("postgres", "Cluster", "postgresql://")],
)
def test_kustomize_build(overlay: str, database: str, uri: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here, which has kustomize in it")
    result = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / overlay)], capture_output=True, text=True, check=True
    )
    kinds = [document["kind"] for document in yaml.safe_load_all(result.stdout)]
    expected = ["Service", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert kinds == expected + ([database] if database else [])
    assert ("claimName: alexnet-indexes" in result.stdout) == (not database)
    assert ('name: ALEXNET_READ_ONLY\n          value: "false"' in result.stdout) == bool(database)
    assert ("value: milvus://" in result.stdout, "value: postgresql://" in result.stdout) == (
        uri == "milvus://",
        uri == "postgresql://",
    )
    assert result.stdout.count("mountPath: /data/artifacts") == 1


def test_settings_exist(compose: dict[str, Any]) -> None:
    environment = [line.partition("=")[0] for line in compose["services"]["server"]["environment"]]
    environment += [variable["name"] for variable in container()["env"]]
    for overlay in ("milvus", "postgres"):
        for patch in yaml.safe_load((DEPLOY / "kubernetes" / overlay / "kustomization.yaml").read_text())["patches"]:
            (changed,) = yaml.safe_load(patch["patch"])["spec"]["template"]["spec"]["containers"]
            environment += [variable["name"] for variable in changed["env"]]
    settings = {name.removeprefix("ALEXNET_").lower() for name in environment if name != "PGPASSWORD"}
    assert settings <= set(Settings.model_fields)


def test_the_databases_have_the_names_that_the_servers_use(compose: dict[str, Any]) -> None:
    service = compose["services"]["postgres"]["environment"]
    uri = re.search(r"ALEXNET_INDEX=(postgresql://\S+) .*--profile postgres", (ROOT / "compose.yaml").read_text())
    assert uri is not None
    assert uri[1] == f"postgresql://{service['POSTGRES_USER']}@postgres/{service['POSTGRES_DB']}"
    assert f"PGPASSWORD={service['POSTGRES_PASSWORD']}" in compose["services"]["server"]["environment"]
    (cluster,) = documents(DEPLOY / "kubernetes" / "postgres")
    database, name = cluster["spec"]["bootstrap"]["initdb"], cluster["metadata"]["name"]
    overlay = (DEPLOY / "kubernetes" / "postgres" / "kustomization.yaml").read_text()
    assert f"postgresql://{database['owner']}@{name}-rw/{database['database']}" in overlay
    assert f"secretKeyRef: {{name: {name}-app, key: password}}" in overlay
    (cluster,) = documents(DEPLOY / "kubernetes" / "milvus")
    overlay = (DEPLOY / "kubernetes" / "milvus" / "kustomization.yaml").read_text()
    assert f"milvus://{cluster['metadata']['name']}-milvus:19530/" in overlay  # Milvus's operator names its service so


def test_probes_have_endpoints(client: TestClient) -> None:
    server = container()
    (port,) = server["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        request = server[probe]["httpGet"]
        assert request["port"] == port["name"]
        assert client.get(request["path"]).status_code == 200
    dockerfile = (ROOT / "Dockerfile").read_text()
    ports = re.findall(r"^(?:ENV .*ALEXNET_PORT=|EXPOSE )(\d+)$", dockerfile, re.MULTILINE)
    assert (
        [int(number) for number in ports] == [port["containerPort"]] * 2 == [Settings.model_fields["port"].default] * 2
    )
    (checked,) = re.findall(r"127\.0\.0\.1:\{os\.environ\[.\"ALEXNET_PORT.\"\]\}(/\w+)", dockerfile)
    assert client.get(checked).status_code == 200


def test_the_images_serve_under_any_command_and_are_healthy_behind_a_proxy(artifact: Artifact) -> None:
    """`docker run IMAGE serve --index ...` replaces CMD; Docker passes its own http_proxy on to containers."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM server AS (\w+)", dockerfile, re.MULTILINE) == ["gpu", "cpu"]
    assert re.findall(r"^ENV ALEXNET_HOST=(\S+)", dockerfile, re.MULTILINE) == ["0.0.0.0"]
    commands = [json.loads(line) for line in re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)]
    assert [command[1:] for command in commands if command[0] == "serve"] == [["--device", "cuda"], []]
    (check,) = [json.loads(line) for line in re.findall(r"^HEALTHCHECK .*? CMD (.*)$", dockerfile, re.MULTILINE)]
    with served_in_thread(Service(Settings(artifact=artifact.path))) as port:
        environment = os.environ | {"ALEXNET_PORT": str(port), "http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        subprocess.run([sys.executable, *check[1:]], env=environment, check=True)


def test_only_the_autoscaler_says_how_many_replicas() -> None:
    """If the deployment did, too, each apply would reset the autoscaler's number."""
    by_kind = {document["kind"]: document for document in documents(DEPLOY / "kubernetes" / "base")}
    scaled = by_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == by_kind["Deployment"]["metadata"]["name"]
    assert "replicas" not in by_kind["Deployment"]["spec"]


def test_one_slow_response_fails_no_probe() -> None:
    for probe in ("readinessProbe", "livenessProbe"):
        assert container()[probe]["timeoutSeconds"] >= 3
        assert container()[probe]["failureThreshold"] >= 3


def test_grace_period_covers_requests(compose: dict[str, Any]) -> None:
    """A pod isn't killed while it may still answer accepted requests."""
    (deployment,) = [d for d in documents(DEPLOY / "kubernetes" / "base") if d["kind"] == "Deployment"]
    values = {variable["name"]: variable.get("value") for variable in container()["env"]}
    shutdown = Settings.model_fields["shutdown_timeout"].default + 2 * CLOSE_SECONDS
    least = float(values["ALEXNET_DRAIN_SECONDS"]) + shutdown
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > least
    probe = container()["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < float(values["ALEXNET_DRAIN_SECONDS"])
    grace = float(compose["services"]["server"]["stop_grace_period"].removesuffix("s"))
    assert grace > shutdown


def test_systemd_unit(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    text = (DEPLOY / "systemd" / "alexnet-server.service").read_text()
    unit.read_string(text)
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > Settings.model_fields["shutdown_timeout"].default + 2 * CLOSE_SECONDS
    named = {name.lower() for name in re.findall(r"ALEXNET_(\w+)", text)}
    assert named <= set(Settings.model_fields)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    file = tmp_path / "alexnet-server.service"
    file.write_text(text.replace("/opt/alexnet/bin/alexnet", sys.executable))  # the program must exist
    result = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert "alexnet-server.service" not in result.stderr, result.stderr
    assert result.returncode == 0, result.stderr


def test_nginx_takes_photos_and_removes_the_prefix() -> None:
    """By default nginx refuses more than 1 MB; it keeps the prefix if an address, even a Unix socket's, has no path."""
    (location,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", location)
    assert int(megabytes) * 2**20 == Settings.model_fields["max_body_bytes"].default
    addresses = re.findall(r"http://[^\s;]+", location)
    assert addresses == ["http://127.0.0.1:8000/", "http://unix:/run/alexnet.sock:/"]


def test_metrics_exist(client: TestClient) -> None:
    exported = set(re.findall(r"^# TYPE (alexnet_\w+)", client.get("/metrics").text, re.MULTILINE))
    files = [DEPLOY / "prometheus" / "alerts.yml", DEPLOY / "kubernetes" / "adapter-rule.yaml"]
    files += [DEPLOY / "kubernetes" / "base" / "autoscaling.yaml", DEPLOY / "grafana" / "alexnet-server.json"]
    for file in files:
        named = {PARTS.sub("", name) for name in METRIC.findall(file.read_text())}
        assert named, file.name
        assert named <= exported | FROM_THE_ADAPTER, file.name


def test_compose_mounts_existing_files(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./deploy"):
                assert (ROOT / source).exists(), name
            elif not source.startswith("./"):
                assert source in compose["volumes"], name
        assert service.get("image", "").rpartition(":")[2] != "latest"
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:")
    profiles = {name: service["profiles"] for name, service in compose["services"].items() if "profiles" in service}
    assert profiles == {name: ["milvus"] for name in ("etcd", "minio", "milvus")} | {"postgres": ["postgres"]}
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped[0]["static_configs"][0]["targets"] == ["server:8000"]


def test_dashboard_is_provisioned() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "alexnet-server.json").read_text())
    providers = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/dashboards.yml").read_text())["providers"]
    target = f"{providers[0]['options']['path']}/alexnet-server.json"
    assert f"./deploy/grafana/alexnet-server.json:{target}:ro" in (ROOT / "compose.yaml").read_text()
    assert any(variable["type"] == "datasource" for variable in dashboard["templating"]["list"])


def test_there_is_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = yaml.safe_load((DEPLOY / "kubernetes" / "base" / "kustomization.yaml").read_text())["images"]
    assert images == [{"name": "alexnet-server", "newTag": version}]
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == version
    pinned = (ROOT / "constraints.txt").read_text()
    assert re.search(r"^torch==2\.13\.0$", pinned, re.MULTILINE)
    assert "alexnet-server" not in pinned
