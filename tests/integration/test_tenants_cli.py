"""`tradewise tenants`: what the operator types, and what it says."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from control_plane.cli import main
from tests.factories import Factory, Urls


async def test_suspend_list_and_resume(urls: Urls, factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWISE_MIGRATION_DATABASE_URL", urls.admin)

    async def tradewise(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, ["tenants", *arguments])

    ada = str((await factory.owner("Ada")).tenant_id)
    assert f"{ada}  active  1 member  Ada's bots" in (await tradewise("list")).output
    done = await tradewise("suspend", ada, "--reason", "unpaid")
    assert (done.exit_code, done.output.strip()) == (0, f"{ada} is suspended")
    listed = (await tradewise("list")).output
    assert f"{ada}  suspended by the operator since" in listed
    assert "(unpaid)" in listed
    done = await tradewise("resume", ada)
    assert (done.exit_code, done.output.strip()) == (0, f"{ada} is active")
    for arguments in (("resume", ada), ("suspend", str(uuid4()))):
        refused = await tradewise(*arguments)
        assert refused.exit_code == 1
        assert "tradewise tenants list" in refused.output
        assert "Traceback" not in refused.output
    assert (await tradewise("suspend", "garbage")).exit_code == 2


async def test_a_plan_is_given_and_shown(urls: Urls, factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWISE_MIGRATION_DATABASE_URL", urls.admin)

    async def tradewise(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, ["tenants", *arguments])

    ada = str((await factory.owner("Ada")).tenant_id)
    done = await tradewise("plan", ada, "pro")
    assert (done.exit_code, done.output.strip()) == (0, f"{ada} has the plan pro")
    assert f"{ada}  active  plan pro  1 member" in (await tradewise("list")).output
    refused = await tradewise("plan", ada, "platinum")
    assert refused.exit_code == 1
    assert "TRADEWISE_PLANS has free, max, pro" in refused.output
    assert (await tradewise("plan", str(uuid4()), "pro")).exit_code == 1
