"""The paper bot as the program that is shipped: its folder on its own, no third-party package, a document on stdin."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

import agents.paper_bot
from tests.unit.paper_bot.support import TOKEN, flat, handover, seeded
from tests.waiting import until

DEADLINE = 20
PRICES = [str(100 + (step * 37) % 23 - (step * 11) % 17) for step in range(80)]
TIMES = {"as_of", "at", "flow_at", "opened_at", "closed_at"}
GRID: dict[str, object] = {"type": "grid", "lower": "80", "upper": "120", "levels": 20}


class Program:
    """One run of the program, with what it wrote to standard error so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._grown = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, folder: Path, given: bytes, *, close: bool = True) -> Self:
        """Start it and hand the document over, leaving standard input open if asked to."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", "-W", "error", "-m", "paper_bot"),
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        program = cls(process)
        assert process.stdin is not None
        process.stdin.write(given)
        await process.stdin.drain()
        if close:
            process.stdin.close()
        return program

    async def event(self, name: str, where: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Wait until an event was logged."""
        async with asyncio.timeout(DEADLINE), self._grown:
            while True:
                for line in self.lines:
                    logged: dict[str, Any] = json.loads(line)
                    if logged["event"] == name and where(logged):
                        return logged
                await self._grown.wait()

    async def next_event(self) -> None:
        """Wait until it logs something more, or a little: nothing more comes once its market has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5), self._grown:
                await self._grown.wait()

    async def client(self) -> httpx.AsyncClient:
        """A client with the bot's token, once it listens."""
        port = (await self.event("listening"))["port"]
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api/v1", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
        )

    async def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if any, and wait for the exit status."""
        if number is not None:
            self.process.send_signal(number)
        status = await asyncio.wait_for(self.process.wait(), DEADLINE)
        await self._reading
        return status

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._grown:
                self.lines.append(line.decode())
                self._grown.notify_all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The package on its own, as in its image, and an empty data directory."""
    source = Path(agents.paper_bot.__file__).parent
    shutil.copytree(source, tmp_path / "paper_bot", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    return tmp_path


def document(folder: Path, market: dict[str, object] | None = None, **changes: Any) -> bytes:
    lively = market or seeded(interval_seconds="0.01")
    return json.dumps(handover(GRID if market else None, lively, data_dir=folder / "data", **changes)).encode() + b"\n"


def candle_document(folder: Path) -> bytes:
    return document(folder, {"kind": "candles", "candles": flat(*PRICES), "interval_seconds": "0.05"})


async def get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200
    read: dict[str, Any] = answer.json()
    return read


async def outcome(client: httpx.AsyncClient) -> dict[str, Any]:
    """Performance, trades and ledger without the times of day, which differ from run to run."""
    documents = {path: await get(client, f"{path}?limit=200") for path in ("/performance", "/trades", "/ledger")}
    told: dict[str, Any] = json.loads(json.dumps(documents), object_hook=without_times)
    return told


def without_times(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in TIMES}


def catches(status: str, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal, from its `/proc` status."""
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


async def test_killed_again_and_again_it_ends_with_the_figures_of_an_undisturbed_run(folder: Path) -> None:
    undisturbed = await Program.start(folder, candle_document(folder))
    await undisturbed.event("market_ended")
    async with await undisturbed.client() as client:
        expected = await outcome(client)
    assert await undisturbed.end(signal.SIGTERM) == 0
    assert expected["/performance"]["closed_trades"] > 5

    (folder / "data").rename(folder / "first-data")
    (folder / "data").mkdir()
    cut_short, ended_by_now = 0, False
    for _ in range(5):
        killed = await Program.start(folder, candle_document(folder))
        await killed.event("listening")
        await killed.next_event()
        ended_by_now |= any("market_ended" in line for line in killed.lines)
        cut_short += not ended_by_now
        assert await killed.end(signal.SIGKILL) == -signal.SIGKILL
    assert cut_short > 0
    last = await Program.start(folder, candle_document(folder))
    async with await last.client() as client:

        async def ended() -> bool:
            return bool((await get(client, "/state"))["market_ended"])

        await until(ended)
        assert await outcome(client) == expected
    assert await last.end(signal.SIGTERM) == 0


async def test_it_ends_within_a_second_and_the_next_run_goes_on(folder: Path) -> None:
    first = await Program.start(folder, document(folder))
    async with await first.client() as client:
        await first.event("buy")
        assert (await client.post("/pause")).json()["trading_state"] == "paused"
        before = await get(client, "/state")
        loop = asyncio.get_running_loop()
        asked = loop.time()
        assert await first.end(signal.SIGTERM) == 0
        assert loop.time() - asked < 1
    second = await Program.start(folder, document(folder))
    async with await second.client() as client:
        after = await get(client, "/state")
        figures = await get(client, "/performance")
    assert (after["trading_state"], after["created_at"]) == ("paused", before["created_at"])
    assert after["started_at"] > before["started_at"]
    assert after["tick_count"] >= before["tick_count"]
    assert figures["capital_base"] == "10000"
    assert await second.end(signal.SIGTERM) == 0


async def test_the_token_is_nowhere_but_on_standard_input(folder: Path) -> None:
    program = await Program.start(folder, document(folder))
    async with await program.client() as client:
        assert (await client.get("/state")).status_code == 200
        assert (await client.get("/state", headers={"Authorization": "Bearer wrong"})).status_code == 401
    await program.event("buy")
    process = Path("/proc") / str(program.process.pid)
    places = [(process / name).read_bytes() for name in ("environ", "cmdline")]
    assert await program.end(signal.SIGTERM) == 0
    places += [path.read_bytes() for path in (folder / "data").iterdir()]
    places += [line.encode() for line in program.lines]
    assert all(TOKEN.encode() not in place for place in places)


async def test_standard_input_may_stay_open(folder: Path) -> None:
    program = await Program.start(folder, document(folder), close=False)
    async with await program.client() as client:
        assert await get(client, "/ping") == {"status": "pong"}
    assert await program.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("given", [b"", b"\n", b"garbage", b"{}", b'{"bot_id": "x"', b"\xff\xfe\x00"])
async def test_an_unusable_document(folder: Path, given: bytes) -> None:
    program = await Program.start(folder, given)
    assert await program.end() == 78
    assert len(program.lines) == 1
    assert json.loads(program.lines[0])["code"] == "invalid_configuration"


async def test_terminated_while_it_waits_for_its_document(folder: Path) -> None:
    program = await Program.start(folder, b'{"bot_id":', close=False)
    status = Path("/proc") / str(program.process.pid) / "status"

    async def prepared() -> bool:
        return catches(status.read_text(), signal.SIGTERM)

    await until(prepared)
    assert await program.end(signal.SIGTERM) == 0


async def test_a_data_directory_or_port_that_cannot_be_had(folder: Path) -> None:
    first = await Program.start(folder, document(folder))
    port = (await first.event("listening"))["port"]
    same_data = await Program.start(folder, document(folder))
    assert await same_data.end() == 69
    assert "another process" in json.loads(same_data.lines[-1])["message"]
    (folder / "other").mkdir()
    same_port = handover(data_dir=folder / "other", port=port)
    taken = await Program.start(folder, json.dumps(same_port).encode())
    assert await taken.end() == 69
    assert json.loads(taken.lines[-1])["code"] == "address_unusable"
    absent = await Program.start(folder, json.dumps(handover(data_dir=folder / "absent")).encode())
    assert await absent.end() == 69
    assert json.loads(absent.lines[-1])["code"] == "data_dir_unusable"
    assert await first.end(signal.SIGTERM) == 0
