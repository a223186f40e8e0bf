"""Mails go out once, survive every way a relay fails, and leave nothing readable behind."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from agents.notifier.carriers import SmtpCarrier
from agents.notifier.outbox import Outbox
from control_plane.mail.relay import SmtpRelay, parse_relay
from control_plane.security.vault import Vault
from tests.integration.notifier.conftest import NotifierMaker, Post
from tests.servers.mail_relay import MailRelay
from tests.waiting import until

FROM = "TradeWise <noreply@example.com>"


@pytest.fixture
def outbox(pool: asyncpg.Pool, vault: Vault, relay: MailRelay) -> Outbox:
    """One that is impatient, for relays that hang."""
    return Outbox(pool, vault, SmtpCarrier(local(relay), answer_s=0.5, mail_s=2.0), FROM)


def local(relay: MailRelay) -> SmtpRelay:
    return parse_relay(f"smtp://127.0.0.1:{relay.port}")


async def row_of(admin: asyncpg.Connection) -> Any:
    return await admin.fetchrow(
        "select *, extract(epoch from next_attempt_at - now())::float8 as in_s from mails order by id limit 1"
    )


async def due(admin: asyncpg.Connection) -> None:
    await admin.execute("update mails set next_attempt_at = now()")


async def test_a_mail_goes_out_as_soon_as_it_is_written(
    write: Post, relay: MailRelay, notifier_with: NotifierMaker, admin: asyncpg.Connection
) -> None:
    notifier = await notifier_with(SMTP_URL=f"smtp://127.0.0.1:{relay.port}", MAIL_FROM=FROM)
    mail_id = await write(subject="Your code", body="Grüße,\n\n    ABCD-EFGH\n")
    await until(lambda: relay.taken, what="the relay took it", deadline_s=8)
    [mail] = relay.taken
    assert (mail["From"], mail["To"], mail["Subject"]) == (FROM, "ada@example.com", "Your code")
    assert mail["Message-ID"] == f"<{mail_id}@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == "Grüße,\n\n    ABCD-EFGH\n"
    assert relay.recipients == ["ada@example.com"]
    row = await until(lambda: sent(admin), what="it is noted")
    assert (row["sealed"], row["failed_at"], row["error"], row["attempts"]) == (None, None, None, 1)
    await until(lambda: notifier.detail.get("mails_sent") == 1, what="it is counted")


async def sent(admin: asyncpg.Connection) -> Any:
    row = await row_of(admin)
    return row if row["sent_at"] is not None else None


async def test_a_mail_to_nobody_is_thrown_away(
    write: Post, relay: MailRelay, outbox: Outbox, admin: asyncpg.Connection
) -> None:
    await write(to="")
    await outbox.work()
    row = await row_of(admin)
    assert row["sent_at"] is not None
    assert row["sealed"] is None
    assert relay.connections == 0


async def test_without_a_relay_each_mail_is_a_private_file(
    write: Post, notifier_with: NotifierMaker, tmp_path: Path, admin: asyncpg.Connection
) -> None:
    mail_id = await write(body="the code\n")
    await notifier_with()
    await until(lambda: sent(admin), what="it is written")
    folder = tmp_path / "mail"
    assert [path.name for path in folder.iterdir()] == [f"{mail_id}.eml"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / f"{mail_id}.eml").stat().st_mode) == 0o600
    assert b"the code" in (folder / f"{mail_id}.eml").read_bytes()


def refuse_recipient(relay: MailRelay) -> None:
    relay.answer_rcpt = "450 4.2.0 greylisted: ada@example.com"


def refuse_mail(relay: MailRelay) -> None:
    relay.answer_data = "451 4.3.0 no room for ABCD"


def hang(relay: MailRelay) -> None:
    relay.answer_data = "hang"


def drop(relay: MailRelay) -> None:
    relay.answer_data = "drop"


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        (refuse_recipient, "recipient_refused_450"),
        (refuse_mail, "mail_refused_451"),
        (hang, "relay_timeout"),
        (drop, "relay_unreachable_SMTPServerDisconnected"),
    ],
)
async def test_what_fails_for_now_is_tried_again(
    write: Post,
    relay: MailRelay,
    outbox: Outbox,
    admin: asyncpg.Connection,
    fail: Callable[[MailRelay], None],
    reason: str,
) -> None:
    await write()
    fail(relay)
    waits = []
    for attempt in range(1, 4):
        await outbox.work()
        row = await row_of(admin)
        assert (row["error"], row["attempts"], row["sent_at"], row["failed_at"]) == (reason, attempt, None, None)
        assert row["sealed"] is not None
        waits.append(row["in_s"])
        assert await outbox.work() > 0  # not before its time
        assert (await row_of(admin))["attempts"] == attempt
        await due(admin)
    for wait, expected in zip(waits, (5, 10, 20), strict=True):
        assert expected * 0.8 - 2.5 <= wait <= expected * 1.2
    relay.answer_rcpt = relay.answer_data = "250 OK"
    await outbox.work()
    assert len(relay.taken) == 1
    assert (await row_of(admin))["error"] is None


async def test_a_relay_that_is_not_there(
    write: Post, relay: MailRelay, outbox: Outbox, admin: asyncpg.Connection
) -> None:
    await write()
    await relay.stop()
    await outbox.work()
    row = await row_of(admin)
    assert row["error"].startswith("relay_unreachable_")
    await relay.start()
    await due(admin)
    await outbox.work()
    assert len(relay.taken) == 1


@pytest.mark.parametrize(
    ("rcpt", "data", "reason"),
    [("550 no such user", "250 OK", "recipient_refused_550"), ("250 OK", "554 spam", "mail_refused_554")],
)
async def test_what_is_refused_for_good_is_given_up(
    write: Post, relay: MailRelay, outbox: Outbox, admin: asyncpg.Connection, rcpt: str, data: str, reason: str
) -> None:
    await write()
    relay.answer_rcpt, relay.answer_data = rcpt, data
    await outbox.work()
    row = await row_of(admin)
    assert row["failed_at"] is not None
    assert (row["error"], row["sealed"]) == (reason, None)


async def test_after_a_day_it_is_given_up(
    write: Post, relay: MailRelay, outbox: Outbox, admin: asyncpg.Connection
) -> None:
    await write()
    relay.answer_data = "451 later"
    await admin.execute("update mails set created_at = now() - interval '23 hours', attempts = 30")
    await outbox.work()
    row = await row_of(admin)
    assert row["failed_at"] is None
    assert 0.8 * 3600 - 5 <= row["in_s"] <= 1.2 * 3600
    await admin.execute("update mails set created_at = now() - interval '24 hours', next_attempt_at = now()")
    await outbox.work()
    row = await row_of(admin)
    assert row["failed_at"] is not None
    assert row["sealed"] is None


async def test_a_broken_row_hurts_itself_alone(
    write: Post, relay: MailRelay, outbox: Outbox, admin: asyncpg.Connection
) -> None:
    broken = await write()
    moved = await write(to="bob@example.com")
    await write(to="bad recipient")
    await write(to="eve@example.com")
    await admin.execute("update mails set sealed = 'x' where id = $1", broken)
    await admin.execute(
        "update mails set sealed = (select sealed from mails order by id desc limit 1) where id = $1", moved
    )
    await outbox.work()
    assert relay.recipients == ["eve@example.com"]
    rows = await admin.fetch("select error, failed_at is not null as over from mails order by id")
    assert [tuple(row) for row in rows] == [
        ("cannot_open", False),
        ("cannot_open", False),
        ("bad_recipient", True),
        (None, False),
    ]


async def test_many_notifiers_send_each_mail_once(
    write: Post, relay: MailRelay, notifier_with: NotifierMaker, admin: asyncpg.Connection
) -> None:
    for number in range(60):
        await write(to=f"person-{number}@example.com")
    for _ in range(3):
        await notifier_with(SMTP_URL=f"smtp://127.0.0.1:{relay.port}")
    await until(lambda: len(relay.taken) >= 60, what="all went out")

    async def noted() -> bool:
        return bool(await admin.fetchval("select count(*) = 60 from mails where sent_at is not null"))

    await until(noted, what="all are noted")
    assert sorted(relay.recipients) == sorted(f"person-{number}@example.com" for number in range(60))
    assert await admin.fetchval("select max(attempts) from mails") == 1


async def test_no_transaction_is_open_while_a_relay_hangs(
    write: Post, relay: MailRelay, outbox: Outbox, admin: asyncpg.Connection
) -> None:
    await write()
    relay.answer_data = "hang"
    passing = asyncio.create_task(outbox.work())
    await until(lambda: relay.offered, what="the relay has the mail and says nothing")
    idle = await admin.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and usename = 'tradewise_agent_notifier' and xact_start is not null"
    )
    assert idle == 0
    async with asyncio.timeout(5), admin.transaction():
        await admin.execute("select id from mails for update nowait")
    await passing


async def test_a_login_with_special_characters(
    write: Post, pool: asyncpg.Pool, vault: Vault, admin: asyncpg.Connection
) -> None:
    async with MailRelay(login=("post@example.com", "p/w:ü%")) as relay:
        url = f"smtp://post%40example.com:p%2Fw%3A%C3%BC%25@127.0.0.1:{relay.port}"
        await write()
        await Outbox(pool, vault, SmtpCarrier(parse_relay(url)), FROM).work()
        assert len(relay.taken) == 1
        await write()
        wrong = url.replace("p%2Fw", "nope")
        await Outbox(pool, vault, SmtpCarrier(parse_relay(wrong)), FROM).work()
        assert len(relay.taken) == 1
        error = await admin.fetchval("select error from mails where sent_at is null")
        assert error == "relay_login_refused_535"


async def test_nothing_is_told_to_a_relay_elsewhere_without_tls(
    write: Post, pool: asyncpg.Pool, vault: Vault, admin: asyncpg.Connection
) -> None:
    async with MailRelay(login=("user", "word")) as relay:
        # An address that is not loopback by name, and leads to this machine all the same.
        elsewhere = parse_relay(f"smtp://user:word@0.0.0.0:{relay.port}")
        assert not elsewhere.is_local
        await write()
        await Outbox(pool, vault, SmtpCarrier(elsewhere), FROM).work()
        assert (relay.connections, relay.offered) == (1, 0)
        assert (await row_of(admin))["error"] == "relay_unreachable_SMTPException"


async def test_old_rows_are_cleared(write: Post, outbox: Outbox, admin: asyncpg.Connection) -> None:
    old, refused, recent = [await write() for _ in range(3)]
    await admin.execute("update mails set sent_at = now() - interval '8 days', sealed = null where id = $1", old)
    await admin.execute("update mails set failed_at = now() - interval '31 days', sealed = null where id = $1", refused)
    await admin.execute("update mails set sent_at = now(), sealed = null where id = $1", recent)
    await outbox.work()
    assert [row["id"] for row in await admin.fetch("select id from mails")] == [recent]
