"""Settings: each wrong value stops the program with the name of its variable."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.settings import PREFIX, PortRange, Settings, SettingsError, load_settings

WRONG = {
    "DATABASE_URL": ["localhost", "mysql://h/d", "postgresql://h:port/d", "postgresql://[::1/d"],
    "AGENT_DATABASE_URL": ["x", "postgresql://h:99999999/d"],
    "MIGRATION_DATABASE_URL": ["x"],
    "DATABASE_POOL_SIZE": ["0", "501", "-1", "ten", "1.5", "²", "1_0"],
    "KEY_PROVIDER": ["cloud", "FILE", "aws"],
    "RUNTIME": ["podman", "kubernetes"],
    "IMAGE_PULL": ["always"],
    "PUBLISH_ADDRESS": ["localhost", "300.1.1.1", "127.0.0.1:80"],
    "PORT_RANGE": ["1", "1-2", "30000-20000", "20000-99999", "a-b", "20000-", "²-³"],
    "START_DEADLINE": ["4", "3601", "nan", "inf", "soon"],
    "STOP_GRACE": ["0", "-1", ""],
    "RECONCILE_INTERVAL": ["0", "0.1"],
    "POLL_INTERVAL": ["0", "nan", "86401"],
    "EGRESS_ALLOW": ["10.0.0.1/8", "private", "10.0.0.0/8,x", "::/129"],
    "SECURE_COOKIES": ["maybe", "2"],
    "REQUIRE_VERIFIED_EMAIL": ["perhaps"],
    "SMTP_URL": [
        "relay",
        "http://relay",
        "smtp://",
        "smtp://relay:0",
        "smtp://relay:x",
        "smtp://user@relay",
        "smtp://a b",
    ],
    "MAIL_FROM": ["nobody", "a@example.com, b@example.com", "Name <>", "a@example.com\tx", "@example.com"],
    "SESSION_IDLE": ["59", "x"],
    "SESSION_LIFETIME": ["1", "99999999999"],
    "PASSWORD_MEMORY_KIB": ["1024"],
    "PASSWORD_TIME_COST": ["0", "21"],
    "LOG_LEVEL": ["INFO", "trace"],
    "METRICS_ADDRESS": ["everywhere"],
    "METRICS_PORT": ["0", "65536"],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values if value]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as told:
        load_settings({PREFIX + name: value})
    assert told.value.variable == PREFIX + name
    assert str(told.value).startswith(f"{PREFIX}{name}: ")
    assert told.value.code == "invalid_setting"


def test_a_variable_that_is_no_setting_is_told() -> None:
    with pytest.raises(SettingsError, match="TRADEWISE_POL_INTERVAL: no such setting"):
        load_settings({"TRADEWISE_POL_INTERVAL": "5"})
    assert load_settings({"TRADEWISE_TEST_DATABASE_URL": "x", "PATH": "/", "tradewise_x": "y"}) == load_settings({})


@given(st.sampled_from(sorted(WRONG)), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_a_value_or_a_named_mistake(name: str, value: str) -> None:
    told = [PREFIX + name]
    try:
        load_settings({PREFIX + name: value})
    except SettingsError as error:
        told.append(error.variable)
    assert set(told) == {PREFIX + name}


def test_good_values_are_read() -> None:
    read = load_settings(
        {
            "TRADEWISE_DATABASE_URL": " postgresql://u:p@h:5432/d?sslmode=require ",
            "TRADEWISE_DATABASE_POOL_SIZE": "7",
            "TRADEWISE_DATA_DIR": "/var/lib/x",
            "TRADEWISE_EGRESS_ALLOW": "10.0.0.0/8, 192.168.1.7/32,,fd00::/8",
            "TRADEWISE_PORT_RANGE": "20000-20010",
            "TRADEWISE_ALLOWED_IMAGES": "a/*, b/c:1",
            "TRADEWISE_SECURE_COOKIES": "No",
            "TRADEWISE_POLL_INTERVAL": "0.5",
            "TRADEWISE_LOG_LEVEL": "debug",
            "DOCKER_HOST": "unix:///run/x.sock",
        }
    )
    assert read.database_url == "postgresql://u:p@h:5432/d?sslmode=require"
    assert read.database_pool_size == 7
    assert read.data_dir == Path("/var/lib/x")
    assert read.effective_kek_file == Path("/var/lib/x/keys/kek.json")
    assert read.egress_allow == tuple(ip_network(text) for text in ("10.0.0.0/8", "192.168.1.7/32", "fd00::/8"))
    assert read.port_range == PortRange(20000, 20010)
    assert read.allowed_images == ("a/*", "b/c:1")
    assert read.secure_cookies is False
    assert read.poll_interval == 0.5
    assert read.docker_host == "unix:///run/x.sock"


def test_empty_and_blank_count_as_unset() -> None:
    for blank in ("", " ", "\t"):
        names = (f"{PREFIX}{name}" for name in (*WRONG, "DATA_DIR", "DOCKER_HOST", "KEK"))
        assert load_settings(dict.fromkeys(names, blank)) == Settings()


def test_a_key_provider_without_its_key() -> None:
    with pytest.raises(SettingsError, match="TRADEWISE_KEK"):
        load_settings({"TRADEWISE_KEY_PROVIDER": "env"})


def test_no_mistake_repeats_a_secret() -> None:
    for name in ("DATABASE_URL", "AGENT_DATABASE_URL", "MIGRATION_DATABASE_URL"):
        for url in ("mysql://u:planted@h/d", "postgresql://u:planted@h:port/d"):
            with pytest.raises(SettingsError) as told:
                load_settings({PREFIX + name: url})
            assert "planted" not in str(told.value)
