"""``tradewise demo``: a small story on a whole machine, told through the same services that the API uses."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import socket
import time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.bots import queries as bot_queries
from control_plane.bots import service as bots
from control_plane.bots.schemas import BotView, CreateBot
from control_plane.database.sessions import Database
from control_plane.identity.principal import Principal
from control_plane.identity.schemas import SignUp
from control_plane.identity.sign_in import SignInFailedError, principal_of, sign_in
from control_plane.identity.sign_up import sign_up
from control_plane.machine import Hooks, Machine, run_machine
from control_plane.private_files import create_private_file
from control_plane.security.datakey import DataKeyStore
from control_plane.security.keyring import wait_for_public_key
from control_plane.security.passwords import Passwords
from control_plane.security.sealing import PublicKey
from control_plane.settings import Settings
from control_plane.subscriptions import queries as subscription_queries
from control_plane.subscriptions.schemas import CreateSubscription, SubscriptionView
from control_plane.subscriptions.service import subscribe
from control_plane.supervisor import ChildSpec, Say, inherited
from control_plane.templates import service as templates
from control_plane.templates.schemas import CreateTemplate

_CREATOR, _SUBSCRIBER = "mara@demo.example", "sam@demo.example"
_SETTLED_WITHIN_S = 90.0
_POLL_INTERVAL_S = 3.0
_LOOPBACK = ipaddress.ip_network("127.0.0.1/32")
_MARKET = {"kind": "seeded", "seed": 7, "interval_seconds": 0.5, "start_price": "50000", "volatility": 0.0015}


class Story(msgspec.Struct):
    """What the demo remembers between starts, in a file beside the database: passwords and tokens it made up."""

    password: str
    hosted_token: str
    outside_token: str
    outside_port: int


class Player(msgspec.Struct, frozen=True):
    """A person of the story, with the key that their tenant's secrets are sealed for."""

    principal: Principal
    key: PublicKey


async def run_demo(settings: Settings, hooks: Hooks, *, host: str, port: int, keep_bots: bool, say: Say) -> None:
    """As ``up``, then the story, then a table of what there is to look at."""
    settings = msgspec.structs.replace(
        settings,
        egress_allow=(*settings.egress_allow, _LOOPBACK),
        poll_interval=min(settings.poll_interval, _POLL_INTERVAL_S),
        reading_interval=min(settings.reading_interval, _POLL_INTERVAL_S),
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    story = _story(settings.data_dir / "demo.json")

    async def tell(machine: Machine) -> None:
        database = Database(machine.urls["api"], pool_size=4)
        try:
            await _tell(machine, database, story, say)
        finally:
            await database.close()

    beside = (_outside_bot(settings, hooks, story),)
    await run_machine(settings, hooks, host=host, port=port, keep_bots=keep_bots, say=say, beside=beside, then=tell)


def _story(file: Path) -> Story:
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=Story)
    story = Story(
        password=secrets.token_urlsafe(9),
        hosted_token=secrets.token_urlsafe(24),
        outside_token=secrets.token_urlsafe(24),
        outside_port=_free_port(),
    )
    create_private_file(file, msgspec.json.encode(story))
    return story


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _outside_bot(settings: Settings, hooks: Hooks, story: Story) -> ChildSpec:
    """A bot that TradeWise does not run: a plain process beside it, as somebody's own server would have."""
    data = settings.data_dir.resolve() / "outside-bot"
    data.mkdir(exist_ok=True)
    document = {
        "bot_id": "outside-dca",
        "token": story.outside_token,
        "listen": {"host": "127.0.0.1", "port": story.outside_port},
        "data_dir": str(data),
        "cash_flows": [],
        "config": _config("dca", capital="2500", seed=11),
    }
    return ChildSpec("outside bot", hooks.outside_bot, inherited(), json.dumps(document).encode() + b"\n")


def _config(strategy: str, *, seed: int, capital: str | None = None, symbol: str = "BTC/USDT") -> dict[str, Any]:
    config: dict[str, Any] = {
        "currency": "USDT",
        "strategy": {"type": strategy, "symbol": symbol},
        "market": {**_MARKET, "seed": seed},
        "fees": {"maker": "0.001", "taker": "0.001"},
    }
    if capital is not None:
        config["capital"] = capital
    return config


async def _tell(machine: Machine, database: Database, story: Story, say: Say) -> None:
    passwords = Passwords(machine.settings)
    mara, fresh = await _player(database, passwords, machine.settings, _CREATOR, "Mara Lindt", story)
    sam, _ = await _player(database, passwords, machine.settings, _SUBSCRIBER, "Sam Okoro", story)
    if fresh:
        say("telling the story: two bots, a template, a subscriber")
        template_id = await _mara_builds(machine, database, mara, story)
        await _sam_subscribes(database, machine.settings, sam, template_id)
    say("waiting until every bot answers and has figures")
    await _until_settled(machine, database, [mara, sam])
    await _show(machine, database, mara, sam, story)


async def _player(
    database: Database, passwords: Passwords, settings: Settings, email: str, name: str, story: Story
) -> tuple[Player, bool]:
    fresh = False
    while True:
        try:
            signed = await sign_in(
                database,
                passwords,
                settings,
                data_keys=DataKeyStore(settings),
                email=email,
                password=story.password,
                address=None,
                user_agent="demo",
            )
            break
        except SignInFailedError:
            if fresh:
                raise
            body = SignUp(email=email, password=story.password, full_name=name)
            await sign_up(database, passwords, settings, body, address=None)
            fresh = True
    principal = await principal_of(database, settings, signed.access_token)
    if principal is None:
        raise SignInFailedError
    return Player(principal, await wait_for_public_key(database, principal.tenant_id)), fresh


async def _mara_builds(machine: Machine, database: Database, mara: Player, story: Story) -> UUID:
    principal, key = mara.principal, mara.key
    outside = CreateBot(
        bot_type="external",
        engine="tradewise",
        name="DCA on my own server",
        api_url=f"http://127.0.0.1:{story.outside_port}",
        credentials={"token": story.outside_token},
    )
    hosted = CreateBot(
        bot_type="platform",
        engine="tradewise",
        name="Momentum, hosted here",
        credentials={"token": story.hosted_token},
        config=_config("momentum", capital="10000", seed=23, symbol="ETH/USDT"),
    )
    grid = CreateTemplate(
        name="Patient grid",
        description="Buys small dips and sells small rises inside a band. Its levels are the creator's secret.",
        engine="tradewise",
        strategy_type="grid",
        risk_level="medium",
        hosting="dedicated",
        currency="USDT",
        minimum_allocation=Decimal("1000"),
        parameters={"currency": "USDT", "fees": {"maker": "0.001", "taker": "0.001"}},
        config={"strategy": {"type": "grid", "symbol": "BTC/USDT"}, "market": {**_MARKET, "seed": 41}},
    )

    async def start(session: AsyncSession, bot_id: UUID) -> None:
        await bots.wish(session, principal, machine.settings, bot_id, "start")

    async with database.transaction(principal.binding) as session:
        await bots.create_bot(session, principal, machine.settings, key, outside)
        await start(session, await bots.create_bot(session, principal, machine.settings, key, hosted))
        template_id = await templates.create_template(session, principal, key, grid)
        await templates.publish(session, principal, template_id)
        own = CreateBot(
            bot_type="platform",
            engine="tradewise",
            name="Patient grid, my own",
            template_id=template_id,
            config={"capital": "8000"},
        )
        await start(session, await bots.create_bot(session, principal, machine.settings, key, own))
    return template_id


async def _sam_subscribes(database: Database, settings: Settings, sam: Player, template_id: UUID) -> None:
    wish = CreateSubscription(template_id=template_id, allocation_amount=Decimal("5000"))
    async with database.transaction(sam.principal.binding) as session:
        await subscribe(session, sam.principal, settings, sam.key, wish)


async def _until_settled(machine: Machine, database: Database, players: list[Player]) -> None:
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while time.monotonic() < deadline:
        shown = [bot for player in players for bot in await _bots(machine, database, player)]
        if all(_is_settled(machine, bot) for bot in shown) and await _has_moved(machine, database, players[-1]):
            return
        await asyncio.sleep(0.2)


async def _has_moved(machine: Machine, database: Database, sam: Player) -> bool:
    """Whether Sam's money has been at work: its worth is no longer the round sum that was put in."""
    if machine.engine_url is None:
        return True
    async with database.transaction(sam.principal.binding) as session:
        held = await subscription_queries.list_subscriptions(session, machine.settings, before=None, limit=50)
    return all(item.status != "active" or item.profit for item in held)


def _is_settled(machine: Machine, bot: BotView) -> bool:
    # One that runs elsewhere is asked again soon; one that we host says `error` only after it was tried in vain.
    if bot.bot_type != "external" and (bot.status == "error" or machine.engine_url is None):
        return True
    if bot.status not in {"running", "connected"} or bot.latest is None or bot.latest.equity is None:
        return False
    return bot.health.observed_at is not None and bot.latest.observed_at >= bot.status_since


async def _bots(machine: Machine, database: Database, player: Player) -> list[BotView]:
    async with database.transaction(player.principal.binding) as session:
        return list(reversed(await bot_queries.list_bots(session, machine.settings, before=None, limit=50)))


async def _show(machine: Machine, database: Database, mara: Player, sam: Player, story: Story) -> None:
    rows: list[tuple[str, ...]] = [("BOT", "OWNER", "TYPE", "STATUS", "HEALTH", "PORT", "EQUITY")]
    hosted_port: int | None = None
    for owner, player in (("Mara", mara), ("Sam", sam)):
        for bot in await _bots(machine, database, player):
            rows.append(_bot_row(owner, bot))
            if bot.name.startswith("Momentum"):
                hosted_port = bot.exposed_host_port
    async with database.transaction(sam.principal.binding) as session:
        held = await subscription_queries.list_subscriptions(session, machine.settings, before=None, limit=50)
    click.echo("\n" + _table(rows) + "\n")
    columns = ("SUBSCRIPTION", "OWNER", "STATUS", "ALLOCATED", "EQUITY", "PROFIT", "RETURN")
    click.echo(_table([columns, *(_subscription_row(item) for item in held)]) + "\n")
    click.echo(f"Dashboard      {machine.address}   sign in as {_CREATOR} or {_SUBSCRIBER}, password {story.password}")
    click.echo(f"API            {machine.address}/api/docs")
    if hosted_port is not None:
        click.echo(
            f'Hosted bot     curl -H "Authorization: Bearer {story.hosted_token}"'
            f" http://{machine.settings.publish_address}:{hosted_port}/api/v1/performance"
        )
    click.echo(f"Database       tradewise db url --role api --data-dir {machine.settings.data_dir}\n")


def _bot_row(owner: str, bot: BotView) -> tuple[str, ...]:
    figures = bot.latest
    equity = f"{figures.equity:,.2f} {figures.currency}" if figures and figures.equity is not None else "not known"
    status = bot.status if bot.reason is None else f"{bot.status} ({bot.reason})"
    return bot.name, owner, bot.bot_type, status, bot.health.state, str(bot.exposed_host_port or "-"), equity


def _subscription_row(item: SubscriptionView) -> tuple[str, ...]:
    known = item.equity is not None and item.profit is not None
    return (
        item.template_name or str(item.template_id),
        "Sam",
        item.status,
        f"{item.allocation_amount:,.2f} {item.currency}",
        f"{item.equity:,.2f}" if known else "not known",
        f"{item.profit:+,.2f}" if known else "not known",
        f"{item.return_:+.3%}" if item.return_ is not None else "not known",
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
