"""Settings: flags override variables, which override the file; a mistake is reported in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.exceptions import KeyFileError, SettingsFileError
from server.run import load_settings
from server.security import Keys
from server.settings import Settings
from tests.helpers.commands import invoke


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.toml"
    file.write_text('max_concurrent_requests = 1\nmax_inflight_bytes = 2\nport = 3\nlog_format = "json"\n')
    monkeypatch.setenv("ALEXNET_MAX_CONCURRENT_REQUESTS", "10")
    monkeypatch.setenv("ALEXNET_MAX_INFLIGHT_BYTES", "20")
    selected = load_settings(file, {"max_concurrent_requests": 100})
    assert (selected.max_concurrent_requests, selected.max_inflight_bytes, selected.port, selected.log_format) == (
        100,
        20,
        3,
        "json",
    )


@pytest.mark.parametrize("text", ["max_wating = 1", "max_concurrent_requests =", "keyz = 'x'"])
def test_a_file_with_a_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.toml").write_text(text)
    with pytest.raises(SettingsFileError, match="settings"):
        load_settings(tmp_path / "server.toml", {})
    with pytest.raises(SettingsFileError, match="No such file"):
        load_settings(tmp_path / "nothing.toml", {})


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KEY", "KEYS"),
        ("API_KEY", "KEYS"),
        ("API_KEYS", "KEYS"),
        ("WRITE_KEY", "KEYS"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("PROT", "PORT"),
        ("CONFIGS", "CONFIG"),
    ],
)
def test_a_misspelled_variable(monkeypatch: pytest.MonkeyPatch, variable: str, meant: str) -> None:
    """If it were ignored, the server might need no key."""
    monkeypatch.setenv(f"ALEXNET_{variable}", "read:0123456789abcdef")
    with pytest.raises(SettingsFileError, match=f"ALEXNET_{variable} isn't a setting: did you mean ALEXNET_{meant}?"):
        load_settings(None, {})


def test_variables_that_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets most of these for a service `alexnet-server` or `alexnet`."""
    for name in ("SERVER_SERVICE_HOST", "SERVER_SERVICE_PORT", "SERVER_PORT", "SERVER_PORT_80_TCP_ADDR", "SERVICE_PORT",
                 "SERVICE_HOST", "POSTGRES_RW_PORT", "KEYCLOAK_PORT", "DATA", "CONFIG"):  # fmt: skip
        monkeypatch.setenv(f"ALEXNET_{name}", "1")
    assert load_settings(None, {}).port == 8000


def test_every_setting_is_a_flag_but_the_keys() -> None:
    help_text = invoke("serve", "--help")
    for name in Settings.model_fields:
        assert (f"  --{name.replace('_', '-')} " in help_text) == (name != "keys"), name


def test_files_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As editors on Windows write them."""
    settings, keys = tmp_path / "server.toml", tmp_path / "keys"
    settings.write_bytes(b"\xef\xbb\xbfport = 8155\r\n")
    assert load_settings(settings, {}).port == 8155
    keys.write_bytes(b"\xef\xbb\xbfread " + b"r" * 16 + b"\r\n")
    Keys.read(keys).require("read", "r" * 16)
    for file in (settings, keys):
        file.write_text("port = 1", "utf-16")
    with pytest.raises(SettingsFileError, match="cannot read the settings file"):
        load_settings(settings, {})
    with pytest.raises(KeyFileError, match="it is not UTF-8, save it as UTF-8"):
        Keys.read(keys)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trusted_proxies", "127.0.0.1, prxy"),
        ("root_path", "/<a>"),
        ("requests_per_second", 0),
        ("allowed_hosts", "a..b"),
        ("max_pixels", True),
        ("threads", 100_000),  # each takes memory, and a machine has a limit for all its programs
        ("drain_seconds", "inf"),
        ("shutdown_timeout", "inf"),
        ("request_timeout", "nan"),
        ("cors_origins", "https://a.example/"),
        ("cors_origins", "a.example"),
        ("cors_origins", "https://*.a.example"),
        ("allowed_hosts", "nas.local:8000"),
        ("allowed_hosts", "http://nas.local"),
        ("allowed_hosts", "a*.example.org"),
    ],
)
def test_settings_that_would_mislead_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.model_validate({name: value})


def test_a_proxy_is_no_name() -> None:
    with pytest.raises(
        ValueError, match=r"'balancer.local' isn't an IP address or network: write 10.0.0.7 or 10.0.0.0/8"
    ):
        Settings(trusted_proxies="10.0.0.0/8,balancer.local")


def test_an_error_shows_no_keys() -> None:
    with pytest.raises(ValidationError, match="keys\n  Input should be a valid string") as refused:
        Settings.model_validate({"keys": ["write:" + "s" * 16]})
    assert "s" * 16 not in str(refused.value)


def test_names_and_origins_as_people_write_them() -> None:
    hosts = Settings(allowed_hosts="nas.local, *.example.org,*,10.0.0.1, ::1,[fe80::1]").host_names
    assert hosts == ["nas.local", "*.example.org", "*", "10.0.0.1", "::1", "[fe80::1]"]
    origins = Settings(cors_origins="https://A.example:8443, *,http://[::1]:80").allowed_origins
    assert origins == ["https://a.example:8443", "*", "http://[::1]"]


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a path, it would mean the working directory, whose files POST /sync would add."""
    names = ("artifact", "index", "sync_folder", "uds")
    for name in names:
        monkeypatch.setenv(f"ALEXNET_{name.upper()}", "")
    settings = load_settings(None, {})
    assert [getattr(settings, name) for name in names] == [None] * 4


@pytest.mark.parametrize("name", [".example.org", "*.", "*example.org", "http://a", "a:80", "a b"])
def test_names_that_no_host_has_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"write NAME or \*\.DOMAIN"):
        Settings(allowed_hosts=name)


def test_origins_are_as_browsers_send_them() -> None:
    settings = Settings(
        cors_origins="https://A.example:443, http://b.example:80, https://c.example:80,http://d.example"
    )
    assert settings.allowed_origins == [
        "https://a.example", "http://b.example", "https://c.example:80", "http://d.example"
    ]  # fmt: skip
