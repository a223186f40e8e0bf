"""A bot's life at random: people, crashes, hangs, cut-off launchers and time, in any order, against the rules.

A small world stands in for the engine and the database; the decisions, verdicts and the reducer are the real ones.
"""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.launcher.lifecycle import HUNG, Bot, Change, Instance, Intent, Unwell, deadline, reduce
from agents.launcher.reconcile import Action, Verb, decide
from agents.launcher.runtimes.base import Exit, Observed
from agents.launcher.verdicts import after_exit, after_failure
from control_plane.bots.models import TRANSIENT_STATUSES
from tests.unit.launcher.rows import BOT_ID, NOW, POLICY, bot

_POLICIES = st.sampled_from(["never", "on_failure", "always"])
_CODES = st.sampled_from([0, 1, 78, 137, 143])
_CUTS = st.sampled_from(["claimed", "made", "attached", "started", "failed", "unlisted"])
_RESTS = {"platform_stopped", "tenant_suspended"}


class Life(RuleBasedStateMachine):
    """One bot, its live row, and what the engine has of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.bot: Bot = bot("inactive", intent=Intent.STOP, generation=0, observed_generation=0, status_since=NOW)
        self.copy: Instance | None = None
        self.containers: dict[str, Observed] = {}
        self.ended: dict[str, Exit] = {}
        self.deaf = False
        self.undead = False
        self.numbers = itertools.count(100)
        self.wished_since_error = True

    # what people and the world do

    @rule(intent=st.sampled_from([Intent.RUN, Intent.STOP]), policy=_POLICIES)
    def wish(self, intent: Intent, policy: str) -> None:
        """Somebody starts, restarts or stops the bot."""
        self.bot = msgspec.structs.replace(
            self.bot,
            intent=intent,
            crash_policy=policy,
            generation=self.bot.generation + 1,
            unwell=None,
            healthy_at=None,
        )
        self.wished_since_error = True

    @rule()
    def suspend_or_resume(self) -> None:
        """The tenant is suspended, or comes back: no wish of the bot's owner."""
        turned = {Intent.RUN: Intent.HALT, Intent.HALT: Intent.RUN}
        self.bot = msgspec.structs.replace(self.bot, intent=turned.get(self.bot.intent, self.bot.intent))

    @rule(seconds=st.sampled_from([1.0, 10.0, 46.0, 86.0, 130.0, 700.0, 2000.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.running())
    @rule(code=_CODES, oom=st.booleans(), witnessed=st.booleans())
    def crash(self, code: int, oom: bool, witnessed: bool) -> None:
        """The copy ends by itself."""
        for ref in self.running():
            self.end(ref, Exit(code=code, oom_killed=oom, witnessed=witnessed))

    @precondition(lambda self: self.containers)
    @rule()
    def vanish(self) -> None:
        """Somebody removes the container."""
        self.containers.clear()

    @rule(reason=st.none() | st.sampled_from(["timeout", "auth"]))
    def check(self, reason: str | None) -> None:
        """The poller has looked."""
        well_at = self.bot.healthy_at or (self.bot.unwell.well_at if self.bot.unwell else None)
        self.bot = msgspec.structs.replace(
            self.bot,
            healthy_at=None if reason else self.now,
            unwell=Unwell(reason=reason, seen_at=self.now, failures=5, well_at=well_at) if reason else None,
        )

    @rule(times=st.integers(1, 8), code=_CODES)
    def crash_again(self, times: int, code: int) -> None:
        """It ends by itself whenever it runs, as often as it is started again."""
        for _ in range(times):
            self.come_up()
            for ref in self.running():
                self.end(ref, Exit(code=code))

    @rule()
    def hang(self) -> None:
        """It runs well for a while, then answers nothing any more."""
        self.come_up()
        self.wait(700.0)
        self.check("timeout")
        self.look()

    @rule(cuts=st.lists(_CUTS, min_size=1, max_size=4))
    def cut_off(self, cuts: list[str]) -> None:
        """One launcher after the other is cut off in the middle of something."""
        for cut in cuts:
            self.look(cut)
            self.look("unlisted")

    def come_up(self) -> None:
        """Time for a few looks, and a poller that finds well what runs."""
        for _ in range(5):
            self.look()
            self.wait(100.0)
            if self.running():
                self.check(None)

    @rule()
    def turn_deaf(self) -> None:
        """From now on the copy ignores whoever asks it to end."""
        self.deaf = True

    @rule(undead=st.booleans())
    def turn_undead(self, undead: bool) -> None:
        """The engine cannot end it, not even by force, until it can again."""
        self.undead = undead

    # what the launcher does

    @rule(cut=st.none() | _CUTS)
    def step(self, cut: str | None) -> None:
        """One look and its step, cut off where a kill of the launcher would."""
        self.look(cut)

    def look(self, cut: str | None = None) -> bool:
        """One look and its step; True where nothing was left to do."""
        listed = [] if cut == "unlisted" else list(self.containers.values())
        decision = decide(self.bot, self.copy, listed, self.now, POLICY)
        if decision.change is not None:
            self.write(decision.change)
        if decision.action is not None:
            self.act(decision.action, cut)
            if decision.afterwards is not None:
                self.write(decision.afterwards)
        return decision.idle

    def write(self, change: Change) -> None:
        """The only way a status changes; raises where the edge is not legal."""
        if self.bot.status == "error" and change.status == "starting":
            assert self.wished_since_error
        if self.bot.status == "stopping" and self.bot.reason in HUNG and change.status == "starting":
            assert self.bot.fresh or change.restarts[-1] == self.now
        assert change.attempt <= POLICY.restarts
        self.bot = reduce(self.bot, change, self.now)
        self.wished_since_error = self.wished_since_error and change.status != "error"

    def act(self, action: Action, cut: str | None) -> None:
        """What the step does to the world."""
        ref = action.ref or ""
        if action.verb is Verb.LAUNCH:
            self.launch(cut)
        elif action.verb in {Verb.STOP, Verb.KILL}:
            # Whoever asked first is gone and with it its patience: only the row tells that the time is over.
            if not self.undead and (not self.deaf or action.verb is Verb.KILL):
                self.end(ref, Exit(code=137 if self.deaf else 0))
        elif action.verb is Verb.REMOVE:
            self.containers.pop(ref, None)
        elif action.verb is Verb.RELEASE:
            self.copy = None
        elif action.verb is Verb.EXAMINE and self.copy is not None:
            seen = self.containers.get(ref)
            if seen is None or seen.state != "running":
                verdict = after_exit(self.bot, self.copy, self.ended.get(ref, Exit()), self.now, POLICY, 0.5)
                self.copy = msgspec.structs.replace(self.copy, state="exited")
                if verdict.change is not None:
                    self.write(verdict.change)

    def launch(self, cut: str | None) -> None:
        """The steps of a launch, as far as it gets."""
        assert self.copy is None
        assert not self.containers or cut == "unlisted"
        if cut == "failed":
            return self.write(after_failure(self.bot, "launch_failed", "words", self.now, POLICY, 0.5, retry=True))
        self.deaf = False
        ref = f"c{next(self.numbers)}"
        self.copy = Instance(id=UUID(int=next(self.numbers)), generation=self.bot.generation, state="creating")
        if cut == "claimed":
            return None
        self.containers[ref] = Observed(ref=ref, state="created", bot_id=BOT_ID, instance_id=self.copy.id)
        if cut == "made":
            return None
        self.copy = msgspec.structs.replace(self.copy, container_id=ref)
        if cut == "attached":
            return None
        self.containers[ref] = msgspec.structs.replace(self.containers[ref], state="running")
        if cut != "started":
            self.copy = msgspec.structs.replace(self.copy, state="running", started_at=self.now)
        return None

    def running(self) -> list[str]:
        """The copies that run."""
        return [ref for ref, seen in self.containers.items() if seen.state == "running"]

    def end(self, ref: str, how: Exit) -> None:
        """A copy ends."""
        if ref in self.containers:
            self.containers[ref] = msgspec.structs.replace(self.containers[ref], state="exited")
            self.ended[ref] = how

    # what always holds

    @invariant()
    def one_copy_at_most(self) -> None:
        assert len(self.running()) <= 1

    @invariant()
    def what_may_not_last_has_a_deadline(self) -> None:
        assert (deadline(self.bot, self.copy, POLICY) is not None) == (self.bot.status in TRANSIENT_STATUSES)

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert self.bot.attempt <= POLICY.restarts
        assert list(self.bot.restarts) == sorted(self.bot.restarts)

    @invariant()
    def only_a_bot_that_starts_waits(self) -> None:
        assert self.bot.next_retry_at is None or self.bot.status == "starting"

    def teardown(self) -> None:
        """Whatever happened: a stop ends in inactive with nothing left, a start in a copy that runs or in an error."""
        self.undead = False
        for intent, ends in ((Intent.STOP, {"inactive"}), (Intent.RUN, {"running", "error"})):
            self.wish(intent, "on_failure")
            for _ in range(40):
                if self.look() and self.bot.status in ends:
                    break
                if self.running():
                    self.check(None)
                self.wait(10.0)
            assert self.bot.status in ends
            assert (len(self.containers), self.copy is None) == (
                (1, False) if self.bot.status == "running" else (0, True)
            )
            assert intent is Intent.RUN or self.bot.reason not in _RESTS


TestRandomLives = Life.TestCase
TestRandomLives.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
