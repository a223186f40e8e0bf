"""A tenant that is suspended, resumed, ended: what becomes of its bots, and of those that run its templates."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from sqlalchemy import text

from control_plane.database.sessions import Database
from control_plane.tenants import operator
from tests.factories import Owner
from tests.integration.launcher.rig import Rig
from tests.integration.launcher.test_dedicated import PRIVATE, subscribe, template

pytestmark = pytest.mark.engine


async def ended(rig: Rig, api_db: Database, owner: Owner) -> None:
    """What `DELETE /tenants/{id}` does last: as the web tier's role, for an owner who is signed in."""
    async with api_db.tenant(owner.tenant_id, user_id=owner.user_id, actor=f"user:{owner.user_id}") as session:
        assert await session.scalar(text("select end_tenant()"))


async def test_a_suspended_tenants_bots_stop_and_come_back_as_they_were_wished(rig: Rig) -> None:
    running = await rig.bot()
    resting = await rig.bot(desired="stopped", generation=0)
    async with rig.launcher(reconcile_interval=3600.0):  # so that nothing but the wake-up leads it there
        first = await rig.up(running)
        before = await rig.row(running)
        await operator.suspend(rig.urls.admin, rig.owner.tenant_id, "unpaid")
        await rig.until_status(running, "inactive", "tenant_suspended")
        await rig.until_gone(running)
        row = await rig.row(running)
        assert (row["desired"], row["generation"]) == (before["desired"], before["generation"])
        assert (await rig.row(resting))["status"] == "inactive"
        await operator.resume(rig.urls.admin, rig.owner.tenant_id)
        second = await rig.until_launched(running, after=first["id"])
        await rig.up(running)
        assert second["generation"] == first["generation"]
        assert await rig.live(resting) is None
    assert rig.volumes(running)


async def test_a_bot_that_is_wished_running_meanwhile_waits_for_the_resume(rig: Rig) -> None:
    await operator.suspend(rig.urls.admin, rig.owner.tenant_id, None)
    bot = await rig.bot()
    async with rig.launcher():
        await rig.until_status(bot, "inactive", "tenant_suspended")
        assert rig.containers(bot) == []
        await operator.resume(rig.urls.admin, rig.owner.tenant_id)
        await rig.until_launched(bot)


async def test_an_ended_tenant_leaves_no_container_and_no_volume(rig: Rig, api_db: Database) -> None:
    """Even of a bot whose row was not marked: it may have been registered at the very moment."""
    bot = await rig.bot()
    async with rig.launcher(reconcile_interval=3600.0):
        await rig.up(bot)
        await ended(rig, api_db, rig.owner)
        await rig.until_gone(bot)
        await rig.until_row(bot, lambda row: (row["status"], row["reason"]) == ("inactive", "deleted"), "deleted")
    assert rig.containers() == []
    assert rig.volumes(bot) == []


async def test_subscribers_bots_of_an_ended_tenant_end_in_error_with_words(rig: Rig, api_db: Database) -> None:
    creator = await rig.factory.owner("Grace")
    ids = await template(rig, creator, PRIVATE)
    places = {"config": None, "template_tenant_id": creator.tenant_id, "template_version_id": ids[1]}
    running, paused = await rig.bot(**places), await rig.bot(**places, desired="stopped", generation=0)
    own = await rig.bot()
    await subscribe(rig, running, creator, ids, ["1000"])
    async with rig.launcher(reconcile_interval=3600.0):
        await rig.up(running)
        kept = await rig.up(own)
        await ended(rig, api_db, creator)
        row = await rig.until_status(running, "error", "template_withdrawn")
        assert "Cancel the subscription" in row["reason_detail"]
        await rig.until_gone(running)
        # Asked for all the same, it says so again and launches nothing.
        await rig.want(running, "running")
        await rig.until_status(running, "error", "template_withdrawn")
        await rig.want(paused, "running")
        await rig.until_status(paused, "error", "template_withdrawn")
        assert rig.containers(running) + rig.containers(paused) == []
        live = await rig.live(own)
        assert live is not None
        assert live["id"] == kept["id"]
        # What the subscriber does about it works.
        await rig.admin.execute(
            "update bots set desired = 'stopped', generation = generation + 1, deleted_at = now() where id = $1",
            running,
        )
        await rig.until_status(running, "inactive", "deleted")
    told = await rig.events(running)
    assert ("running", "error", "template_withdrawn") in told


async def test_what_a_withdrawn_bot_said_is_not_told_unredacted(rig: Rig, api_db: Database, rogue_image: str) -> None:
    """Its template's key is gone, so nobody knows any more what of its output was secret: nothing is kept of it."""
    creator = await rig.factory.owner("Grace")
    private = {"behaviour": "exit 1", "secret": "planted-template-secret"}
    ids = await template(rig, creator, private, image=rogue_image)
    bot: UUID = await rig.bot(config=None, template_tenant_id=creator.tenant_id, template_version_id=ids[1])
    async with rig.launcher():
        await rig.until_row(bot, lambda row: row["attempt"] > 0, "a crash")
        await ended(rig, api_db, creator)
        await rig.until_status(bot, "error", "template_withdrawn")
        await rig.until_gone(bot)
    kept = await rig.admin.fetch("select last_lines::text as lines from bot_instances where bot_id = $1", bot)
    for row in kept:
        assert "planted-template-secret" not in json.dumps(row["lines"])
