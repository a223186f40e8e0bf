"""What mails say and are made of, and when they are tried again. All pure."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from email import message_from_bytes, policy
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.notifier.envelope import BadRecipientError, envelope_for
from agents.notifier.retry import delay_after, is_over
from control_plane.identity.codes import ALPHABET, hash_of, new_code
from control_plane.mail import messages
from control_plane.mail.letters import Letter
from control_plane.mail.relay import parse_relay, sender_of

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MAIL = UUID(int=7)
FROM = "TradeWise <noreply@example.com>"
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
}
nasty = st.text(max_size=60) | st.sampled_from(
    [
        "a@b.cd\r\nBcc: eve@example.com",
        "x\nSubject: y",
        "<a@b.cd>, <c@d.ef>",
        "a\u2028b@c.de",
        "\x00",
        '"a@b"@c.de',
        "a,b@c.de",
    ]
)


@given(nasty, nasty, nasty)
def test_nothing_in_a_letter_becomes_a_header(to: str, subject: str, body: str) -> None:
    try:
        made = envelope_for(Letter(kind="x", to=to, subject=subject, body=body), mail_id=MAIL, at=AT, mail_from=FROM)
    except BadRecipientError:
        return
    read = message_from_bytes(made.message.as_bytes(), policy=policy.default)
    assert set(read.keys()) == HEADERS
    assert len(read["To"].addresses) == 1
    assert read["To"].addresses[0].addr_spec == made.recipient
    assert read["From"] == FROM
    assert made.recipient.isprintable()
    assert "\n" not in read["Subject"]


@given(st.from_regex(r"[a-zA-Z0-9._+-]{1,20}@[a-z0-9]{1,10}\.[a-z]{2,4}", fullmatch=True))
def test_ordinary_addresses_get_their_mail(to: str) -> None:
    try:
        made = envelope_for(Letter(kind="x", to=to, subject="s", body="b"), mail_id=MAIL, at=AT, mail_from=FROM)
    except BadRecipientError:
        assert ".." in to or to.startswith(".") or ".@" in to
        return
    assert made.recipient == to


def test_a_name_of_the_wide_world() -> None:
    letter = Letter(kind="x", to="jörg@bücher.example", subject="Grüße " * 60, body="ü\n")
    made = envelope_for(letter, mail_id=MAIL, at=AT, mail_from="Börse <post@bücher.example>")
    assert made.recipient == "jörg@xn--bcher-kva.example"
    assert made.message["Message-ID"] == f"<{MAIL}@xn--bcher-kva.example>"
    assert len(made.message["Subject"]) == 200


def test_a_code_is_120_bits_however_it_is_typed() -> None:
    codes = {new_code() for _ in range(200)}
    assert len(codes) == 200
    for code in codes:
        plain = code.replace("-", "")
        assert len(plain) * 5 == 120
        assert set(plain) <= set(ALPHABET)
        assert hash_of(code) == hash_of(plain.lower()) == hash_of(f" {code} ".replace("0", "O").replace("1", "l"))
        assert hash_of(code) != hash_of(plain[:-1])


@pytest.mark.parametrize("public_url", [None, "https://tradewise.example.com/"])
def test_letters_say_what_to_do_and_put_no_code_into_an_address(public_url: str | None) -> None:
    code, to = "ABCD-EFGH-JKMN-PQRS-TVWX-YZ01", "ada+bots@example.com"
    letters = [
        messages.verify_email(to, to, code, public_url),
        messages.reset_password(to, to, code, public_url),
        messages.already_registered(to, public_url),
        messages.password_changed(to, public_url),
    ]
    assert len({letter.kind for letter in letters}) == 4
    for letter in letters:
        assert "If this was not you" in letter.body or "If it was not" in letter.body
        links = [word for word in letter.body.split() if "://" in word]
        assert bool(links) == (public_url is not None)
        for link in links:
            assert link.startswith("https://tradewise.example.com/")
            assert "ABCD" not in link
        assert all(len(line) < 400 for line in letter.body.splitlines())
    for letter in letters[:2]:
        assert f"    {code}\n" in letter.body
    if public_url:
        assert "https://tradewise.example.com/verify-email?email=ada%2Bbots@example.com" in letters[0].body
        assert "https://tradewise.example.com/reset-password?email=ada%2Bbots@example.com" in letters[1].body
    assert code not in repr(letters)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_retries_grow_to_an_hour(attempts: int, chance: float) -> None:
    assert 4.0 <= delay_after(attempts, chance) <= 1.2001 * 3600
    assert delay_after(attempts, 0.5) <= delay_after(attempts + 1, 0.5)


def test_when_a_mail_is_given_up() -> None:
    assert not is_over(86399, permanent=False)
    assert is_over(86400, permanent=False)
    assert is_over(0, permanent=True)


@given(st.text(max_size=60))
def test_any_text_is_a_relay_or_a_mistake_that_repeats_nothing(text: str) -> None:
    for parse in (parse_relay, sender_of):
        said = ""
        with contextlib.suppress(ValueError):
            try:
                parse(text)
            except ValueError as error:
                said = str(error)
                raise
        assert len(text) < 12 or text not in said


def test_a_relay_tells_no_password() -> None:
    relay = parse_relay("smtps://user:planted@relay.example.com")
    assert (relay.port, relay.implicit_tls, relay.username, relay.password) == (465, True, "user", "planted")
    assert "planted" not in repr(relay)
    for wrong in ("smtp://user:planted@relay:port", "smtp://user:planted@relay/path", "ftp://user:planted@relay"):
        with pytest.raises(ValueError) as told:
            parse_relay(wrong)
        assert "planted" not in str(told.value)
        assert told.value.__cause__ is None
