"""A hundred bots at once, half of them broken: the sound half runs, and each other one says why it does not."""

from __future__ import annotations

from itertools import cycle, islice

import pytest

from tests.faults.invariants import CopyWatch
from tests.faults.recovery import Recovery
from tests.faults.stage import Stage
from tests.integration.launcher.rig import CONFIG

pytestmark = pytest.mark.engine

CROWD, SMALL_CROWD = 100, 30


async def test_a_crowd_half_of_it_broken(stage: Stage, rogue_image: str, recovery: Recovery, in_full: bool) -> None:
    others = await stage.others()
    broken = {
        "image_missing": {"image": "tradewise/nowhere:1"},
        "secret_unreadable": {"credentials": None},
        "config_rejected": {"config": {**CONFIG, "strategy": {"type": "martingale"}}},
        "crash_loop": {"image": rogue_image, "config": {"behaviour": "exit 1"}},
        "exited": {"image": rogue_image, "config": {"behaviour": "exit 0"}},
    }
    count = CROWD if in_full else SMALL_CROWD
    sound = [await stage.bot(desired="stopped") for _ in range(count // 2)]
    errors = {
        await stage.bot(desired="stopped", **broken[reason]): reason  # type: ignore[arg-type]
        for reason in islice(cycle(broken), count - count // 2)
    }
    then = "the sound half runs; each other one ends in error with its own reason"
    with (
        CopyWatch(stage.settings.docker_host or "", stage.installation) as watch,
        recovery(f"{count} bots started at once, half of them broken", then),
    ):
        await stage.admin.execute(
            "update bots set desired = 'running', generation = generation + 1 where id = any($1)", [*sound, *errors]
        )
        await stage.well(others, errors=errors, deadline_s=300.0)
    assert watch.most == 1
