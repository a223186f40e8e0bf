"""The hand-over document as it is taken, and the files that are made of it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from agents.freqtrade_bot import files
from agents.freqtrade_bot.app import environment
from agents.freqtrade_bot.handover import FILE_VARIABLE, Refused, parse, receive

DOCUMENT: dict[str, Any] = {
    "bot_id": "bot-1",
    "credentials": {"username": "ada", "password": "planted-password"},
    "listen": {"host": "0.0.0.0", "port": 8080},
    "data_dir": "/data",
    "strategy": {"name": "Eager", "source": "class Eager: ..."},
    "config": {
        "dry_run": True,
        "exchange": {"name": "binance", "key": "planted-key"},
        # However they came in: what listens and what is kept where is not theirs to say.
        "api_server": {"listen_ip_address": "10.0.0.1"},
        "db_url": "sqlite:////data/elsewhere.sqlite",
    },
}


def encoded(**changes: Any) -> bytes:
    return json.dumps({**DOCUMENT, **changes}).encode()


def test_the_files_are_for_one_user_and_go_when_told(tmp_path: Path) -> None:
    document = parse(encoded(data_dir=str(tmp_path / "data")))
    (tmp_path / "memory").mkdir()
    written = files.write(document, (tmp_path / "nowhere", tmp_path / "memory"))
    assert written.folder.parent == tmp_path / "memory"
    assert stat.S_IMODE(written.folder.stat().st_mode) == 0o700
    strategy = written.folder / "strategies" / "eager.py"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (written.config, strategy)} == {0o400}
    assert strategy.read_text() == "class Eager: ..."
    assert not any(b"planted" in path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    written.remove()
    assert not written.folder.exists()
    assert written.user_data.is_dir()


def test_what_is_ours_wins(tmp_path: Path) -> None:
    document = parse(encoded(data_dir=str(tmp_path)))
    config = files.configuration(document, user_data=tmp_path / "user_data", strategies=tmp_path)
    server = config["api_server"]
    assert (server["listen_ip_address"], server["listen_port"]) == ("0.0.0.0", 8080)
    assert (server["username"], server["password"]) == ("ada", "planted-password")
    assert len(server["jwt_secret_key"]) >= 32
    assert server["jwt_secret_key"] != server["ws_token"]
    assert config["db_url"] == f"sqlite:///{tmp_path}/trades.dryrun.sqlite"
    assert (config["bot_name"], config["strategy_path"]) == ("bot-1", str(tmp_path))
    assert config["exchange"] == DOCUMENT["config"]["exchange"]


def test_simulated_trades_and_real_ones_never_share_a_database(tmp_path: Path) -> None:
    places = {
        files.configuration(parse(encoded(config={"dry_run": dry})), user_data=tmp_path, strategies=tmp_path)["db_url"]
        for dry in (True, False)
    }
    assert len(places) == 2


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "document"),
        (b"[]", "document"),
        (encoded(credentials=None), "credentials"),
        (encoded(credentials={"username": "ada"}), "credentials.password"),
        (encoded(listen={"host": "0.0.0.0", "port": 0}), "listen.port"),
        (encoded(strategy={"name": "../../etc/passwd"}), "strategy.name"),
        (encoded(strategy={"name": None}), "strategy.name"),
        (encoded(config="x"), "config"),
    ],
)
def test_a_document_that_lacks_something_is_refused_by_name_and_without_its_values(raw: bytes, named: str) -> None:
    with pytest.raises(Refused, match=f"^{named}:") as refused:
        parse(raw)
    assert "planted" not in str(refused.value)


def test_the_document_comes_over_a_pipe_that_stays_open() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, encoded() + b"\n")
        assert receive(reading, {}).bot_id == "bot-1"
        with pytest.raises(Refused, match="whole line"):
            receive(reading, {}, wait_seconds=0.05)
    finally:
        os.close(reading)
        os.close(writing)


def test_the_document_comes_as_a_file_where_one_is_named(tmp_path: Path) -> None:
    named = tmp_path / "document"
    named.write_bytes(encoded())
    assert receive(-1, {FILE_VARIABLE: str(named)}).strategy == "Eager"
    with pytest.raises(Refused, match=FILE_VARIABLE):
        receive(-1, {FILE_VARIABLE: str(tmp_path / "gone")})


def test_freqtrade_finds_no_setting_in_its_environment() -> None:
    given = {"PATH": "/bin", "FREQTRADE__API_SERVER__PASSWORD": "x", FILE_VARIABLE: "/run/document"}
    passed = environment(given)
    assert passed["PATH"] == "/bin"
    assert not any(name.startswith(("FREQTRADE", "TRADEWISE")) for name in passed)
