"""What a key may do at most: a partial order, and addresses in one form."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from control_plane.api_keys.powers import Network, Powers, checked_networks, excess, shown
from control_plane.identity.permissions import SCOPES

BOTS = [UUID(int=number) for number in range(4)]
networks = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(lambda pair: IPv4Network(pair, strict=False)),
    st.tuples(st.integers(2**126, 2**128 - 1), st.integers(1, 128)).map(lambda pair: IPv6Network(pair, strict=False)),
)
powers = st.builds(
    Powers,
    scopes=st.frozensets(st.sampled_from(SCOPES[:4])),
    expires_at=st.none() | st.integers(2030, 2033).map(lambda year: datetime(year, 1, 1, tzinfo=UTC)),
    bots=st.none() | st.frozensets(st.sampled_from(BOTS)),
    networks=st.none() | st.lists(networks, min_size=1, max_size=3).map(tuple),
)


@given(powers)
def test_nobody_goes_beyond_themself_or_beyond_one_without_bounds(one: Powers) -> None:
    assert excess(one, one) is None
    assert excess(one, Powers(scopes=frozenset(SCOPES))) is None


@given(powers, powers, powers)
def test_within_what_is_within_is_within(one: Powers, two: Powers, three: Powers) -> None:
    if excess(one, two) is None and excess(two, three) is None:
        assert excess(one, three) is None


@given(powers, powers, st.integers(0, 2**32 - 1))
def test_what_is_within_reaches_nothing_that_the_other_does_not(one: Powers, two: Powers, bits: int) -> None:
    if excess(one, two) is not None:
        return
    assert one.scopes <= two.scopes
    for bot in BOTS:
        assert _reaches(two.bots, bot) or not _reaches(one.bots, bot)
    for year in range(2029, 2035):
        moment = datetime(year, 1, 1, tzinfo=UTC)
        assert _lasts(two, moment) or not _lasts(one, moment)
    for address in (ip_address(bits), *(network[0] for network in one.networks or ())):
        assert _from(two.networks, str(address)) or not _from(one.networks, str(address))


def _reaches(bots: frozenset[UUID] | None, bot: UUID) -> bool:
    return bots is None or bot in bots


def _lasts(one: Powers, moment: datetime) -> bool:
    return one.expires_at is None or moment < one.expires_at


def _from(allowed: tuple[Network, ...] | None, address: str) -> bool:
    return allowed is None or any(ip_address(address) in network for network in allowed)


@given(st.lists(networks, min_size=1, max_size=5))
def test_addresses_have_one_form(given_networks: list[Network]) -> None:
    once = checked_networks([str(network) for network in given_networks])
    assert once is not None
    assert checked_networks([shown(network) for network in reversed(once)]) == once
    assert set(once) == set(given_networks)


def test_an_address_of_one_family_that_carries_the_other_is_that_other() -> None:
    assert checked_networks(["::ffff:192.0.2.1", "::ffff:192.0.2.0/120"]) == (
        ip_network("192.0.2.0/24"),
        ip_network("192.0.2.1/32"),
    )
