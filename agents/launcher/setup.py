"""Making one machine ready to host bots: an engine that answers, and the image of the bot that we host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from uuid import UUID, uuid4

from docker.errors import APIError, DockerException

from agents.launcher.base_image import BaseImageUnavailable
from agents.launcher.engine import EngineUnavailable, ensure_engine, find_engine, open_client
from agents.launcher.guard import rules
from agents.launcher.images import ImageBuildError, ensure_paper_bot_image
from agents.launcher.runtimes import docker_guard
from agents.launcher.runtimes.base import ContainmentUnavailable
from agents.launcher.runtimes.docker_profile import LABEL_INSTALLATION
from control_plane.settings import Settings


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


def containment_report(settings: Settings) -> tuple[bool, str]:
    """Whether the firewall of the engine's host holds bots to their rules, in words, changing nothing there."""
    if settings.egress_guard == "off":
        return True, "OFF (TRADEWISE_EGRESS_GUARD): hosted bots reach whatever the engine lets them"
    try:
        engine = find_engine()
        if engine is None:
            return True, "no container engine answers, so no bot runs"
        client = open_client(engine.url)
    except (EngineUnavailable, DockerException) as error:
        return False, str(error)
    with contextlib.closing(client):
        labels = [network.get("Labels") or {} for network in client.api.networks(filters={"label": LABEL_INSTALLATION})]
        here = {UUID(label[LABEL_INSTALLATION]) for label in labels}
        try:
            # Where no bot has run yet, a question about nobody shows that the guard itself works.
            found = {
                installation: docker_guard.apply(
                    client.api, installation, settings.effective_guard_image, rules.look(installation)
                )
                for installation in here or {uuid4()}
            }
        except (ContainmentUnavailable, APIError) as error:
            return False, str(error)
    if not here:
        return True, "the guard works; its rules come with the first hosted bot"
    bare = [str(installation) for installation, there in found.items() if there.was == "absent"]
    if bare:
        return (
            False,
            f"bots of {', '.join(bare)} run without rules: is a launcher at work, and TRADEWISE_EGRESS_GUARD on?",
        )
    return True, f"the guard holds: {sum(there.rules for there in found.values())} rules in the engine host's firewall"


def engine_report() -> tuple[bool, str]:
    """Whether an engine answers, in words, changing nothing."""
    try:
        engine = find_engine()
    except EngineUnavailable as error:
        return False, str(error)
    if engine is None:
        return False, "no container engine answers: `make engine` finds or installs one; external bots work without it"
    return True, f"{engine.version} at {engine.url}"
