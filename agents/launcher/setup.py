"""Making one machine ready to host bots: an engine that answers, and the image of the bot that we host."""

from __future__ import annotations

from collections.abc import Callable

from agents.launcher.base_image import BaseImageUnavailable
from agents.launcher.engine import EngineUnavailable, ensure_engine, find_engine, open_client
from agents.launcher.images import ImageBuildError, ensure_paper_bot_image


def prepare_engine(say: Callable[[str], None]) -> str | None:
    """The address of an engine with the hosted bot's image in it, set up where that is possible.

    None where no engine is to be had: external bots work without one, and ``say`` is told what to do.
    """
    try:
        engine = ensure_engine(install=True, say=say)
    except EngineUnavailable as error:
        say(f"no bots can be hosted here, external bots work: {error}")
        return None
    say(f"container engine {engine.version} at {engine.url}{' (our own daemon)' if engine.owned else ''}")
    client = open_client(engine.url)
    try:
        image = ensure_paper_bot_image(client, say=say)
        say(f"image of the hosted bot: {image}")
    except (BaseImageUnavailable, ImageBuildError) as error:
        say(f"the image of the hosted bot could not be built, so hosted bots will not start: {error}")
    finally:
        client.close()
    return engine.url


def engine_report() -> tuple[bool, str]:
    """Whether an engine answers, in words, changing nothing."""
    try:
        engine = find_engine()
    except EngineUnavailable as error:
        return False, str(error)
    if engine is None:
        return False, "no container engine answers: `make engine` finds or installs one; external bots work without it"
    return True, f"{engine.version} at {engine.url}"
