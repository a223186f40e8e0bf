"""What the launcher does while it cannot be sure: listings that lack copies, containers that nobody knows, calls that
hang."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid4

from agents.launcher.runtimes.base import Spec
from agents.launcher.runtimes.docker import DockerRuntime
from tests.integration.launcher.lying_wire import EMPTY_LISTING, LyingWire
from tests.integration.launcher.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.engine


@pytest.fixture
async def wire(engine_url: str, tmp_path: Path) -> AsyncIterator[LyingWire]:
    """A wire that carries everything until it is told otherwise."""
    made = LyingWire(tmp_path / "engine.sock", engine_url)
    await made.join()
    yield made
    await made.cut()


async def orphan(rig: Rig) -> str:
    """A running container of this installation whose bot the database does not know."""
    runtime = DockerRuntime(rig.settings.docker_host, rig.installation)
    spec = Spec(
        tenant_id=rig.owner.tenant_id,
        bot_id=UUID(str(uuid4())),
        instance_id=UUID(str(uuid4())),
        generation=1,
        image=rig.settings.paper_bot_image,
        publish_address="127.0.0.1",
        host_port=None,
    )
    try:
        ref = await runtime.ensure(spec)
        await runtime.start(ref, b"")
    finally:
        runtime.close()
    return ref


def there(rig: Rig) -> set[str]:
    return {container["Id"] for container in rig.containers()}


async def test_an_empty_listing_is_not_believed_while_copies_run(rig: Rig, wire: LyingWire) -> None:
    bots = [await rig.bot() for _ in range(3)]
    async with rig.launcher(docker_host=wire.url, reconcile_interval=0.5) as launcher:
        for bot in bots:
            await rig.up(bot)
        before, events = there(rig), [await rig.events(bot) for bot in bots]
        wire.answer = lambda line: EMPTY_LISTING if "/containers/json" in line else None
        await until(lambda: launcher.detail["engine"]["reachable"] is False, what="the listing is not believed")
        assert await _stale(rig) == 3
        await until(lambda: launcher._loss_s > 2, what="a second look in vain")
        assert (there(rig), [await rig.events(bot) for bot in bots]) == (before, events)

        wire.answer = lambda _line: None
        await until(lambda: launcher._reachable, what="it is believed again")
        assert await _stale(rig) == 0
        assert (there(rig), [await rig.events(bot) for bot in bots]) == (before, events)


async def test_a_listing_that_lacks_one_copy_starts_no_second_one(rig: Rig, wire: LyingWire) -> None:
    bot = await rig.bot()
    async with rig.launcher(docker_host=wire.url, reconcile_interval=0.5):
        copy = await rig.up(bot)
        asked = len(wire.asked)
        wire.answer = lambda line: EMPTY_LISTING if "/containers/json" in line else None
        inspected = f"/containers/{copy['container_id']}/json"
        await until(lambda: sum(inspected in line for line in wire.asked[asked:]) >= 2, what="two looks at that one")
        assert (await rig.row(bot))["status"] == "running"
        assert there(rig) == {copy["container_id"]}


async def test_copies_that_are_really_gone_come_back_although_they_are_many(rig: Rig) -> None:
    bots = [await rig.bot() for _ in range(3)]
    async with rig.launcher():
        first = {bot: (await rig.up(bot))["id"] for bot in bots}
        for container in rig.containers():
            rig.engine.api.remove_container(container["Id"], force=True)
        for bot in bots:
            await rig.until_launched(bot, after=first[bot])
    assert len(rig.containers()) == 3


async def test_a_look_with_nothing_to_do_is_one_call_of_the_engine(rig: Rig, wire: LyingWire) -> None:
    bots = [await rig.bot() for _ in range(3)]
    async with rig.launcher(docker_host=wire.url, reconcile_interval=0.2) as launcher:
        for bot in bots:
            await rig.up(bot)
        await until(lambda: not launcher._tasks and not launcher._alarms._set, what="nothing left to do")
        asked = len(wire.asked)

        def looks() -> list[str]:
            # Samples of what bots use are asked for besides, however often anybody looks.
            return [line for line in wire.asked[asked:] if "/stats?" not in line]

        await until(lambda: len(looks()) >= 5, what="five calls")
        assert all(line.startswith("GET ") and "/containers/json?" in line for line in looks())


async def test_an_orphan_is_told_left_alone_and_then_ended(rig: Rig) -> None:
    bot, lost = await rig.bot(), await orphan(rig)
    async with rig.launcher(orphan_grace=3.0, reconcile_interval=0.2) as launcher:
        await rig.up(bot)
        told: Any = await until(lambda: launcher.detail.get("orphans"), what="it is told")
        assert told == {"count": 1, "held": None, "containers": [lost[:12]]}
        assert lost in there(rig)
        await until(lambda: lost not in there(rig), what="it is ended")
        await until(lambda: "orphans" not in launcher.detail, what="nothing is told any more")
        assert len(there(rig)) == 1


@pytest.mark.parametrize(
    ("setting", "held"), [({"orphans": "report"}, "report_only"), ({"orphan_limit": 1}, "too_many")]
)
async def test_orphans_are_only_told_where_the_operator_says_so_or_they_are_many(
    rig: Rig, setting: dict[str, Any], held: str
) -> None:
    lost = {await orphan(rig), await orphan(rig)}
    async with rig.launcher(orphan_grace=0.0, reconcile_interval=0.2, **setting) as launcher:
        await until(lambda: launcher.detail.get("orphans", {}).get("held") == held, what="it is told why")
        before = launcher._all_at
        await until(lambda: launcher._all_at > before + 1.0, what="some looks at everything")
        assert there(rig) == lost


async def test_bots_that_hang_in_the_engine_hold_up_no_other(rig: Rig, wire: LyingWire) -> None:
    hanging = [await rig.bot() for _ in range(6)]
    async with rig.launcher(kind=partial(DockerRuntime, answer_s=5), docker_host=wire.url):
        refs = [(await rig.up(bot))["container_id"] for bot in hanging]
        wire.answer = lambda line: b"" if any(f"/containers/{ref}/" in line for ref in refs) else None
        for bot in hanging:
            await rig.want(bot, "stopped")
        for ref in refs:
            await until(partial(_was_asked, wire, ref), what="it hangs")
        # From now on they are among themselves: another one starts, crashes and stops as if they were not there.
        other = await rig.bot()
        copy = await rig.up(other)
        rig.engine.api.kill(copy["container_id"], "SIGKILL")
        await rig.until_row(other, lambda row: row["reason"] == "restarting", "the crash is told", deadline_s=5.0)
        await rig.until_launched(other, after=copy["id"])
        assert {(await rig.row(bot))["status"] for bot in hanging} == {"stopping"}
        wire.answer = lambda _line: None
        for bot in hanging:
            await rig.until_row(bot, lambda row: row["status"] == "inactive", "it is stopped", deadline_s=60.0)


def _was_asked(wire: LyingWire, ref: str) -> bool:
    """Whether a container was asked to end."""
    return any(ref in line and "/kill" in line for line in wire.asked)


async def _stale(rig: Rig) -> int:
    """How many bots are marked as not known about."""
    return int(await rig.admin.fetchval("select count(*) from bot_health where engine_lost_at is not null"))
