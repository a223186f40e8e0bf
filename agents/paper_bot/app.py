"""The process: hand-over, server, ticks by the wall clock, a clean end on SIGTERM."""

import asyncio
import os
import signal
import sqlite3
import sys
from types import FrameType

from . import __version__, handover, log, timestamps
from .bot import Bot
from .config import Config
from .fields import ConfigError
from .routes import Api
from .server import Server
from .store import StoreError

_MOST_NAMED = 20
EX_OK = 0
EX_UNAVAILABLE = 69
"""The data directory or the address cannot be used now (sysexits.h)."""
EX_IOERR = 74
"""The disk failed while running; what was committed before is intact (sysexits.h)."""
EX_CONFIG = 78
"""The hand-over document is missing or wrong (sysexits.h)."""


def main() -> int:
    """Run one bot until SIGTERM; returns the exit status."""
    # As process 1 of a container nothing has a default action, so even waiting for the document needs a handler.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    os.umask(0o077)
    try:
        config = handover.receive(sys.stdin.fileno(), os.environ)
    except ConfigError as wrong:
        return _refuse(EX_CONFIG, "invalid_configuration", str(wrong))
    try:
        bot = Bot(config, timestamps.now())
    except StoreError as unusable:
        return _refuse(EX_UNAVAILABLE, "data_dir_unusable", f"data_dir: {unusable}")
    except sqlite3.Error as failed:
        return _refuse(EX_IOERR, "disk_failed", f"data_dir: {failed}; free or repair the disk and start again")
    try:
        return asyncio.run(_serve(config, bot))
    finally:
        bot.close()


async def _serve(config: Config, bot: Bot) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(Api(bot))
    try:
        port = await server.start(config.host, config.port)
    except OSError as taken:
        remedy = f"listen: {config.host} port {config.port} cannot be used ({taken.strerror}); choose another"
        return _refuse(EX_UNAVAILABLE, "address_unusable", remedy)
    log.event("listening", bot_id=config.bot_id, version=__version__, host=config.host, port=port)
    if config.ignored:
        log.event("ignored_fields", fields=list(config.ignored[:_MOST_NAMED]))
    try:
        await _tick(bot, stopping)
    except sqlite3.Error as failed:
        return _refuse(EX_IOERR, "disk_failed", f"data_dir: {failed}; free or repair the disk and start again")
    finally:
        await server.stop()
    log.event("stopped", tick=bot.trader.tick_count)
    return EX_OK


async def _tick(bot: Bot, stopping: asyncio.Event) -> None:
    """Make ticks when they are due. A tick is never interrupted, and it is stored before the next wait."""
    while not stopping.is_set():
        if bot.make_due_ticks(timestamps.now()):
            await asyncio.sleep(0)
            continue
        try:
            await asyncio.wait_for(stopping.wait(), max(0.0, bot.seconds_to_next_tick(timestamps.now())))
        except TimeoutError:
            continue


def _refuse(status: int, code: str, message: str) -> int:
    log.event("refused", code=code, message=message)
    return status


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(EX_OK)
