"""Signatures as the Standard Webhooks scheme has them, checked by a receiver's own arithmetic; and the addresses."""

from __future__ import annotations

import base64
import hashlib
import hmac
from ipaddress import ip_network

import pytest

from control_plane.security.addresses import UrlRefused
from control_plane.webhooks.address import checked_webhook_url, parse_webhook_url
from control_plane.webhooks.signing import new_secret, signatures

LOOPBACK = (ip_network("127.0.0.0/8"),)


def test_the_schemes_own_example() -> None:
    # From the specification's reference libraries: the same secret, id, time and body give this signature everywhere.
    given = signatures(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_secret_signs() -> None:
    old, new = new_secret(), new_secret()
    header = signatures([new, old], "id", 1, b"body")
    expected = [
        "v1,"
        + base64.b64encode(
            hmac.new(base64.b64decode(secret.removeprefix("whsec_")), b"id.1.body", hashlib.sha256).digest()
        ).decode()
        for secret in (new, old)
    ]
    assert header.split(" ") == expected


def test_a_secret_is_long_and_new_each_time() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert all(24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64 for secret in secrets)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://Hooks.Example.com", "https://hooks.example.com/"),
        ("https://hooks.example.com:443/a/b/", "https://hooks.example.com/a/b/"),
        ("https://hooks.example.com:8443/api/v1", "https://hooks.example.com:8443/api/v1"),
        (" https://hooks.example.com/%7Ex;y=1 ", "https://hooks.example.com/%7Ex;y=1"),
        ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000/x"),
    ],
)
def test_an_address_is_kept_as_it_was_meant(text: str, stored: str) -> None:
    assert checked_webhook_url(text, LOOPBACK) == stored
    assert checked_webhook_url(stored, LOOPBACK) == stored
    origin, path = parse_webhook_url(stored)
    assert stored == f"{origin.scheme}://{origin.authority}{path}"
    assert origin.prefix == ""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("http://hooks.example.com/x", "url_scheme"),
        ("ftp://hooks.example.com/x", "url_scheme"),
        ("hooks.example.com", "url_invalid"),
        ("https://user:pass@hooks.example.com/", "url_userinfo"),
        ("https://hooks.example.com/?token=x", "url_query"),
        ("https://hooks.example.com/#x", "url_fragment"),
        ("https://hooks.example.com/a/../b", "url_path"),
        ("https://hooks.example.com/a/%2E%2e/b", "url_path"),
        ("https://hooks.example.com/a\r\nx: y", "url_path"),
        ("https://hooks.example.com:22/", "url_port"),
        ("https://10.0.0.1/", "address_refused"),
        ("https://169.254.169.254/latest", "address_refused"),
        ("https://localhost/", "address_refused"),
        ("https://hooks.example.com/" + "x" * 2048, "url_too_long"),
    ],
)
def test_what_is_no_address_for_a_webhook(text: str, code: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        checked_webhook_url(text, ())
    assert refused.value.code == code
