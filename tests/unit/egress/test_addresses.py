"""Which URLs and addresses are refused, which pass, and that the operator's leave opens what it names and no more."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.security.addresses import BotUrl, UrlRefused, check_address, check_literal_host, parse_bot_url
from tests.unit.egress.hostile_addresses import GLOBAL_HOSTS, MALFORMED_URLS, REFUSED_HOSTS

EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]


def test_the_table_is_as_long_as_the_bar() -> None:
    assert len(set(MALFORMED_URLS) | set(REFUSED_HOSTS)) >= 175


@pytest.mark.parametrize("text", MALFORMED_URLS)
def test_malformed_urls_are_refused_whatever_is_allowed(text: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        parse_bot_url(text)
    assert refused.value.code.startswith("url_")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", REFUSED_HOSTS)
def test_refused_hosts_are_refused_without_dns(scheme: str, host: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check_literal_host(parse_bot_url(f"{scheme}://{host}:8080/bots/1"))
    assert refused.value.code == "address_refused"


@pytest.mark.parametrize("host", GLOBAL_HOSTS)
def test_global_hosts_pass(host: str) -> None:
    check_literal_host(parse_bot_url(f"https://{host}"))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("http://host:8080", "http://host:8080"),
        ("http://host:8080/", "http://host:8080"),
        ("http://host:8080/api/v1", "http://host:8080"),
        ("http://host:8080/api/v1/", "http://host:8080"),
        ("  HTTP://Host.Example.:80/  ", "http://host.example"),
        ("https://host:443/Bots/One/api/v1/", "https://host/Bots/One"),
        ("https://host:80", "https://host:80"),
        ("http://[2A00:0:0::0001]:8080/x//", "http://[2a00::1]:8080/x"),
        ("https://host/a%20b/~c;d=1,2", "https://host/a%20b/~c;d=1,2"),
        ("https://host/api/v1/api/v1", "https://host"),
        ("https://host/api/v11", "https://host/api/v11"),
    ],
)
def test_what_people_paste_comes_to_one_form(text: str, canonical: str) -> None:
    url = parse_bot_url(text)
    assert str(url) == canonical
    assert parse_bot_url(canonical) == url


def test_parts_are_told_apart() -> None:
    assert parse_bot_url("https://bots.example.com:8443/one") == BotUrl("https", "bots.example.com", 8443, "/one")
    assert parse_bot_url("http://[::1]:8080").host == "::1"
    assert parse_bot_url("http://[::1]:8080").authority == "[::1]:8080"


_BITS = (
    "http:// https:// HTTP: // / /api/v1 @ : :8080 # ? \\ %2e % .. . [ ] ::1 127.1 0x7f 0177"
    " a Example xn-- com - _ \t é 。 ①"
)
_URLISH = st.lists(st.sampled_from([*_BITS.split(" "), " "]), max_size=12).map("".join)


@given(st.one_of(st.text(max_size=60), _URLISH, st.text(max_size=40).map("http://".__add__)))
def test_any_text_is_refused_or_has_one_form(text: str) -> None:
    try:
        url = parse_bot_url(text)
    except UrlRefused:
        return
    assert parse_bot_url(str(url)) == url
    assert str(url).isascii()
    assert url.scheme in {"http", "https"}
    assert url.port in {80, 443} or url.port >= 1024
    assert not url.prefix.endswith(("/", "/api/v1"))


@given(st.ip_addresses())
def test_every_address_that_passes_is_global_for_the_standard_library_too(address: object) -> None:
    checked = ip_address(str(address))
    try:
        check_address(checked)
    except UrlRefused:
        return
    assert checked.is_global
    assert not checked.is_multicast
    assert checked.version == 4 or checked in ip_network("2000::/3")


@given(st.ip_addresses(v=4))
def test_no_coat_makes_an_address_pass(inner: object) -> None:
    number = int(ip_address(str(inner)))
    for text in (f"::ffff:{inner}", f"::{inner}", f"64:ff9b::{inner}"):
        with pytest.raises(UrlRefused):
            check_address(ip_address(text))
    with pytest.raises(UrlRefused):
        check_address(ip_address((0x2002 << 112) | (number << 80) | 1))


def test_the_operators_leave_opens_its_networks_and_no_others() -> None:
    allow = [ip_network("10.20.0.0/16"), ip_network("fd12::/48")]
    check_address(ip_address("10.20.3.4"), allow)
    check_address(ip_address("fd12::7"), allow)
    for closed in ("10.21.0.1", "127.0.0.1", "fd13::1", "::ffff:10.20.3.4", "::1"):
        with pytest.raises(UrlRefused):
            check_address(ip_address(closed), allow)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
    ],
)
def test_metadata_services_open_only_by_their_exact_name(address: str) -> None:
    checked = ip_address(address)
    with pytest.raises(UrlRefused):
        check_address(checked, EVERYTHING)
    check_address(checked, [ip_network(address)])


def test_leave_for_loopback_opens_its_names() -> None:
    check_literal_host(parse_bot_url("http://localhost:8080"), [ip_network("127.0.0.0/8")])
    check_literal_host(parse_bot_url("http://localhost:8080"), [ip_network("::1/128")])
    with pytest.raises(UrlRefused):
        check_literal_host(parse_bot_url("http://localhost:8080"), [ip_network("10.0.0.0/8")])
    with pytest.raises(UrlRefused):
        check_literal_host(parse_bot_url("http://metadata.google.internal"), EVERYTHING)


def test_a_refusal_never_repeats_a_resolved_address() -> None:
    with pytest.raises(UrlRefused) as refused:
        check_address(ip_address("10.1.2.3"))
    assert "10.1.2.3" not in str(refused.value)
