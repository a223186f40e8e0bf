"""Lanes: who may begin, and whom nobody's trouble may hold up. Plain objects, no clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from agents.poller.facts import Bot, Health
from agents.poller.intervals import Pace
from agents.poller.lanes import ACTIVE, IDLE, REGULAR, SLOW, URGENT, Lanes, Room
from agents.poller.watched import Watched, places_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TENANT = uuid7()
ROOM = Room(
    urgent=2, regular=4, slow=3, total=12, per_host=2, per_host_slow=1, per_tenant_slow=2, spacing_s=0.5, burst_s=1.0
)


def watched_at(url: str | None, *, slow: bool = False, asked: bool = False, tenant: UUID = TENANT) -> Watched:
    """A bot at an address; without one, hosted."""
    watched = Watched()
    watched.bot = Bot(
        id=uuid7(),
        tenant_id=tenant,
        hosted=url is None,
        engine="tradewise",
        desired="running",
        status="connected" if url else "running",
        reason=None,
        generation=1,
        told_generation=1,
        api_url=url,
    )
    reason = "timeout" if slow else None
    watched.health = Health(state="healthy", reason=reason, observed_at=NOW, observed_generation=1)
    watched.origin, watched.host = places_of(watched.bot)
    watched.pace = Pace(15.0, 60.0, timedelta(seconds=15))
    watched.asked_at = NOW + timedelta(seconds=1) if asked else None
    return watched


def begun(lanes: Lanes, now: float) -> list[Watched]:
    """Those that begin now."""
    return [watched for watched, rest in lanes.begin(now, 1000) if not rest]


def many(count: int, *, slow: bool = False) -> list[Watched]:
    """So many bots, each on a host of its own."""
    return [watched_at(f"http://10.{int(slow)}.0.{number}:80", slow=slow) for number in range(count)]


def test_hanging_bots_leave_the_regular_lane_and_hold_nobody_up() -> None:
    lanes = Lanes(ROOM)
    for watched in many(8):
        lanes.offer(watched)
    first = begun(lanes, 0.0)
    assert len(first) == 4
    assert begun(lanes, 0.5) == []
    lanes.sweep(1.0)
    second = begun(lanes, 1.0)
    assert len(second) == 4
    assert lanes.under_way == 8
    for watched in [*first, *second]:
        lanes.end(watched)
    assert lanes.under_way == 0


def test_bots_that_timed_out_queue_apart_and_one_tenants_do_not_take_every_place() -> None:
    lanes = Lanes(ROOM)
    slow, other = many(6, slow=True), watched_at("http://10.9.9.9:80", slow=True, tenant=uuid7())
    regular = many(3)
    for watched in [*slow, other, *regular]:
        lanes.offer(watched)
    going = begun(lanes, 0.0)
    assert [watched for watched in going if watched.lane == REGULAR] == regular
    assert [watched for watched in going if watched.lane == SLOW] == [*slow[:2], other]
    lanes.end(slow[0])
    assert begun(lanes, 0.1) == [slow[2]]


def test_whoever_is_waited_for_goes_before_all_others_and_past_its_own_queue() -> None:
    lanes = Lanes(ROOM)
    crowd = many(9)
    for watched in crowd:
        lanes.offer(watched)
    begun(lanes, 0.0)
    last = crowd[-1]
    last.asked_at = NOW + timedelta(seconds=1)
    lanes.offer(last)
    assert begun(lanes, 0.1) == [last]
    assert (last.lane, last.state) == (URGENT, ACTIVE)
    lanes.end(last)
    last.asked_at = None
    for watched in crowd[:4]:
        lanes.end(watched)
    # Its old place in the queue is nobody's.
    assert begun(lanes, 0.2) == crowd[4:8]


def test_a_host_has_so_many_turns_and_its_bots_wait_without_taking_others() -> None:
    lanes = Lanes(ROOM)
    same = [watched_at(f"http://shared.example:{port}") for port in range(80, 85)]
    other = watched_at("http://other.example")
    for watched in [*same, other]:
        lanes.offer(watched)
    assert begun(lanes, 0.0) == [*same[:2], other]
    lanes.end(same[0])
    assert begun(lanes, 0.1) == [same[2]]
    # An address that was changed meanwhile does not confuse the count.
    same[1].host = same[1].origin = "elsewhere.example"
    for watched in (same[1], same[2], other):
        lanes.end(watched)
    assert begun(lanes, 0.2) == same[3:]
    for watched in same[3:]:
        lanes.end(watched)
    assert lanes._hosts == {}


def test_hanging_bots_of_a_host_leave_its_turns_to_the_others() -> None:
    lanes = Lanes(ROOM)
    hanging = [watched_at(f"http://shared.example:{port}", slow=True) for port in range(80, 83)]
    well = [watched_at(f"http://shared.example:{port}") for port in range(90, 95)]
    for watched in [*hanging, *well]:
        lanes.offer(watched)
    assert begun(lanes, 0.0) == [*well[:2], hanging[0]]
    # What drags on for the first time gives its turn up too.
    lanes.sweep(1.0)
    assert begun(lanes, 1.0) == well[2:4]
    for watched in (*well[:4], hanging[0]):
        lanes.end(watched)
    assert begun(lanes, 1.1) == [well[4], hanging[1]]


def test_an_origin_is_asked_at_a_rate_and_each_waits_its_own_turn() -> None:
    lanes = Lanes(Room(spacing_s=0.5, burst_s=1.0))
    same = [watched_at("http://shared.example:8000/bot") for _ in range(6)]
    for watched in same:
        lanes.offer(watched)
    told = list(lanes.begin(0.0, 1000))
    assert [rest for _, rest in told] == [0.0, 0.0, 0.0, 1.5, 2.0, 2.5]
    for watched in same[:3]:
        lanes.end(watched)
    for watched, rest in told[3:]:
        assert watched.state == IDLE
        lanes.offer(watched)
        assert list(lanes.begin(rest, 1000)) == [(watched, 0.0)]
        lanes.end(watched)


def test_an_origin_that_asked_for_rest_has_it_but_for_a_persons_question() -> None:
    lanes = Lanes(ROOM)
    one, same, other = (watched_at(f"http://{name}.example") for name in ("a", "a", "b"))
    lanes.quiet(one, 60.0)
    for watched in (same, other):
        lanes.offer(watched)
    assert list(lanes.begin(20.0, 1000)) == [(same, 40.0), (other, 0.0)]
    one.asked_at = NOW + timedelta(seconds=1)
    lanes.offer(one)
    assert begun(lanes, 20.0) == [one]
    lanes.tidy(61.0)
    assert lanes._quiet == {}
    assert lanes._origins == {}


def test_limits_shrink_with_the_files_that_may_be_open() -> None:
    assert Room().within(100_000) == Room()
    small = Room().within(1024)
    assert small.total == 512
    assert small.slow + small.regular <= small.total


@given(
    st.lists(
        st.tuples(st.sampled_from(["offer", "end", "wait"]), st.integers(0, 29), st.booleans(), st.booleans()),
        max_size=120,
    )
)
def test_counts_never_drift(moves: list[tuple[str, int, bool, bool]]) -> None:
    lanes, now = Lanes(ROOM), 0.0
    bots = [
        watched_at(None if number % 5 == 0 else f"http://host{number % 4}.example:{number}") for number in range(30)
    ]
    for move, number, slow, asked in moves:
        watched = bots[number]
        if move == "offer" and watched.state == IDLE:
            watched.health = Health(reason="timeout" if slow else None, observed_at=NOW, observed_generation=1)
            watched.asked_at = NOW + timedelta(seconds=1) if asked else None
            lanes.offer(watched)
        elif move == "end" and watched.state == ACTIVE:
            lanes.end(watched)
        else:
            now += 0.6
            lanes.sweep(now)
        begun(lanes, now)
        active = [one for one in bots if one.state == ACTIVE]
        assert lanes.under_way == len(active)
        assert sum(one.lane == SLOW for one in active) == lanes._slow <= ROOM.slow
        assert lanes._urgent <= ROOM.urgent
    for _ in range(40):
        for one in bots:
            if one.state == ACTIVE:
                lanes.end(one)
        now += 5
        begun(lanes, now)
    assert (lanes.under_way, lanes._urgent, lanes._slow, lanes._hosts, lanes._slow_tenants) == (0, 0, 0, {}, {})
