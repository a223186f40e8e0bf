"""What engines of third parties tell: readings as ours are, or the field that is none of such."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agents.egress import EgressError, MeansExhausted
from agents.engines.base import ControlRefused, Engine, Outside, ReadFailure, Reading, Reason
from agents.engines.foreign import _KINDS, Foreign
from agents.engines.plugins import programs
from agents.poller.waiting import Snapshot
from agents.poller.watched import Watched
from control_plane.bots.kinds import LONGEST_REST_S
from control_plane.engines.tradewise import FAMILY as OURS
from tests.waiting import until

NOW = datetime(2026, 11, 27, tzinfo=UTC)
FAMILY = dataclasses.replace(OURS, name="acme", program="acme_bots_of_tests:Stranger")
WELL = Reading(
    reachable=True,
    credential_ok=True,
    full=True,
    detail="Its profit is not known.",
    latency_ms=1.5,
    trading_state="running",
    loop_age_s=2,
    simulated=False,
    version="7",
    identity="acme:1",
    started_at=NOW,
    loop_interval_s=5.0,
    currency="USDT",
    equity=Decimal(1000),
    capital_base=Decimal("900.5"),
    win_rate=Decimal("0.5"),
    closed_trades=3,
    open_positions=0,
    tally=9,
)


class Stranger(Outside):
    """An engine that tells, or raises, what it is given."""

    family = FAMILY

    def __init__(self, tells: Any = WELL) -> None:
        self.tells = tells

    async def check(self, *_: Any, **__: Any) -> Any:
        return self._told()

    async def read(self, *_: Any, **__: Any) -> Any:
        return self._told()

    async def control(self, *_: Any) -> Any:
        self._told()

    def _told(self) -> Any:
        if isinstance(self.tells, BaseException):
            raise self.tells
        return self.tells


async def look(tells: Any, *, full: bool = True) -> Reading:
    """What agents come to know of such an engine."""
    engine: Engine[Any, Any] = Foreign(Stranger(tells), FAMILY)
    ask = engine.read if full else engine.check
    client: Any = None
    url: Any = None
    return await ask(client, url, None, None, now=NOW)


async def test_a_plug_ins_engine_is_asked_through_what_looks_at_its_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("acme_bots_of_tests")
    module.Stranger = lambda: Stranger(msgspec.structs.replace(WELL, equity=10.5))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    [engine] = programs({"acme": FAMILY}).values()
    asked: Any = None
    reading = await engine.read(asked, asked, None, None, now=NOW)
    assert (engine.family, engine.shared_key(asked, None, None)) == (FAMILY, None)
    assert (reading.reason, reading.equity) == (Reason.BAD_PAYLOAD, None)


async def test_a_reading_as_ours_are_stays_as_it_is() -> None:
    assert set(_KINDS) == set(Reading.__struct_fields__)
    assert await look(WELL) == WELL
    short = Reading(reachable=False, credential_ok=None, full=False, reason=Reason.RATE_LIMITED, retry_after_s=9.0)
    assert await look(short, full=False) == short


BAD: list[tuple[str, Any]] = [
    ("reachable", None),
    ("reachable", 1),
    ("credential_ok", "yes"),
    ("full", "full"),
    ("reason", "auth"),
    ("detail", b"words"),
    ("retry_after_s", "60"),
    ("retry_after_s", True),
    ("latency_ms", object()),
    ("latency_ms", float("nan")),
    ("latency_ms", Decimal(1)),
    ("latency_ms", 10**400),
    ("trading_state", 7),
    ("loop_age_s", -1.0),
    ("loop_age_s", timedelta(seconds=1)),
    ("loop_interval_s", float("inf")),
    ("simulated", 0),
    ("version", 2.5),
    ("identity", ("acme", 1)),
    ("started_at", "2026-11-27"),
    ("started_at", datetime(2026, 11, 27)),  # noqa: DTZ001 - of nobody knows where
    ("currency", 840),
    ("equity", 10.5),
    ("equity", "10.5"),
    ("equity", 10),
    ("capital_base", Decimal("1e16")),
    ("open_profit", [Decimal(1)]),
    ("win_rate", 0.5),
    ("max_drawdown", "0.5"),
    ("closed_trades", "2"),
    ("closed_trades", True),
    ("closed_trades", -1),
    ("open_positions", 2**31),
    ("tally", 1.0),
]


@pytest.mark.parametrize(("name", "value"), BAD)
async def test_a_field_of_another_kind_is_a_bad_payload_that_names_it(name: str, value: Any) -> None:
    reading = await look(msgspec.structs.replace(WELL, **{name: value}))
    assert (reading.reason, reading.full) == (Reason.BAD_PAYLOAD, False)
    assert f" {name} " in (reading.detail or "")
    assert "acme" in (reading.detail or "")
    assert reading.reachable is (name != "reachable")
    assert reading.credential_ok is (None if name == "credential_ok" else True)
    assert reading.equity is None


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("equity", Decimal("0.123456789"), Decimal("0.12345679")),
        ("equity", Decimal("NaN"), None),
        ("realized_profit", Decimal("-Infinity"), None),
        ("win_rate", Decimal("62.5"), None),
        ("trading_state", "Running", "running"),
        ("trading_state", "on its way", None),
        ("version", "1\x00.2" + "3" * 99, "1.2" + "3" * 61),
        ("currency", "\ud800USDT", "USDT"),
        ("detail", "so\n" + "x" * 999, "so" + "x" * 498),
        ("retry_after_s", 1e9, LONGEST_REST_S),
    ],
)
async def test_values_are_brought_to_the_bounds_of_ours(name: str, value: Any, kept: Any) -> None:
    reading = await look(msgspec.structs.replace(WELL, **{name: value}))
    assert (reading.reason, getattr(reading, name)) == (None, kept)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (None, Reason.BAD_PAYLOAD),
        ({"reachable": True}, Reason.BAD_PAYLOAD),
        (KeyError("planted"), Reason.BAD_PAYLOAD),
        (SystemExit("planted"), Reason.BAD_PAYLOAD),
        (KeyboardInterrupt("planted"), Reason.BAD_PAYLOAD),
        (asyncio.CancelledError("planted"), Reason.BAD_PAYLOAD),
        (OSError("planted"), Reason.BAD_PAYLOAD),
        (TimeoutError("planted"), Reason.TIMEOUT),
        (EgressError("unreachable", "Nothing listens there."), Reason.UNREACHABLE),
        (EgressError(cast("Any", "unheard_of"), "planted"), Reason.BAD_PAYLOAD),
        (ReadFailure(Reason.AUTH, "It refuses.", reachable=True, credential_ok=False), Reason.AUTH),
        (ReadFailure(cast("Reason", "auth"), "planted", reachable=False), Reason.BAD_PAYLOAD),
    ],
)
async def test_an_engine_that_tells_nothing_or_raises_is_told_of_its_bot(raised: Any, reason: Reason) -> None:
    reading = await look(raised)
    assert (reading.reason, reading.full, reading.reachable) == (reason, False, reason is Reason.AUTH)
    assert reading.detail
    assert "planted" not in reading.detail


async def test_what_this_machine_lacks_is_no_fault_of_the_plug_in() -> None:
    with pytest.raises(MeansExhausted):
        await Foreign(cast("Engine[Any, Any]", Stranger(MeansExhausted())), FAMILY).read(
            *[cast("Any", None)] * 4, now=NOW
        )


@pytest.mark.parametrize(("raised", "told"), [(SystemExit(3), RuntimeError), (ControlRefused("no"), ControlRefused)])
async def test_an_engine_that_exits_when_it_is_told_something_ends_no_agent(raised: Any, told: type[Exception]) -> None:
    asked: Any = None
    with pytest.raises(told):
        await Foreign(Stranger(raised), FAMILY).control(asked, asked, None, None, "stop")


class Clinging(Stranger):
    """An engine that does not end when it is told to, until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.may_end = asyncio.Event()

    async def read(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        while not self.may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.may_end.wait()
        return WELL


async def test_an_engine_that_clings_to_its_look_keeps_nobody_and_is_not_asked_again_until_it_lets_go() -> None:
    clinging = Clinging()
    engine: Engine[Any, Any] = Foreign(clinging, FAMILY)
    client: Any = None

    async def read(url: Any) -> Reading:
        return await engine.read(client, url, None, None, now=NOW)

    look = asyncio.create_task(read("here"))
    await until(lambda: clinging.asked == 1, what="a look")
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    told = await read("here")
    assert (told.reason, clinging.asked) == (Reason.BAD_PAYLOAD, 1)
    assert "does not end an earlier look" in (told.detail or "")
    clinging.may_end.set()
    assert await read("elsewhere") == WELL
    assert await read("here") == WELL


_ANY = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=9)
    | st.datetimes()
    | st.sampled_from(list(Reason))
)


@given(st.dictionaries(st.sampled_from(Reading.__struct_fields__), _ANY, max_size=5))
async def test_whatever_it_tells_is_a_reading_that_can_be_recorded(changes: dict[str, Any]) -> None:
    reading = await look(msgspec.structs.replace(WELL, **changes))
    assert msgspec.convert(msgspec.structs.asdict(reading), type=Reading) == reading
    watched = Watched()
    watched.mark = None
    Snapshot(NOW, reading, anew=False).settle(watched)


async def test_the_line_that_failed_is_logged_and_nothing_that_it_held() -> None:
    with capture_logs() as told:
        await look(KeyError("planted"))
    (line,) = told
    assert (line["event"], line["error"]) == ("engine_failed", "KeyError")
    assert re.fullmatch(r"test_foreign\.py:\d+ in _told", line["at"])
    assert "planted" not in str(line)
