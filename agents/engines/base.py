"""What every engine is, and the one reading that all bot families are brought to."""

from collections.abc import Hashable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeVar

import msgspec

from agents.egress import EgressError, GuardedClient, Response
from control_plane.bots.kinds import LONGEST_REST_S
from control_plane.engines.family import Action, Capability, EngineConfig, Family
from control_plane.security.addresses import BotUrl
from control_plane.security.credentials import Credential

__all__ = [
    "Action",
    "Capability",
    "ControlRefused",
    "DrainRefused",
    "Engine",
    "EngineConfig",
    "Family",
    "ReadFailure",
    "Reading",
    "Reason",
    "Standing",
    "accepted",
    "check_pong",
    "failure_of",
    "refusal",
]


class Reason(StrEnum):
    """Why a reading is not all well. Stable: stored, shown and alerted on."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    AUTH = "auth"
    BAD_PAYLOAD = "bad_payload"
    RATE_LIMITED = "rate_limited"
    EGRESS_REFUSED = "egress_refused"
    HTTP_ERROR = "http_error"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one bot. None means "not known now", never zero.

    Three facts are kept apart, because a bot can have any one without the others: the transport (`reachable`), the
    credential (`credential_ok`) and the trading (`trading_state`, `loop_age_s`). A bot that is stopped by its owner is
    all well: `reason` stays None.
    """

    reachable: bool
    """The bot itself answered; an answer of a proxy in front of it does not count."""
    credential_ok: bool | None
    """None where the bot was not asked anything that needs the credential."""
    full: bool
    """Every call about performance was answered, though single figures may still be unknown."""
    reason: Reason | None = None
    detail: str | None = None
    """The reason in words for the bot's owner, or without a reason what is left unknown and why; never an upstream
    body, an address or a secret."""
    retry_after_s: float | None = None
    """With `rate_limited`: how long the bot asks to be left alone, in seconds; None where it does not say."""
    latency_ms: float | None = None
    """Milliseconds for the liveness call, connecting included where a connection had to be made."""

    trading_state: str | None = None
    """`running`, `paused`, `stopped`, or the family's own word in lower case."""
    loop_age_s: float | None = None
    """Seconds since the bot's trading loop last turned, by the bot's clock and ours; at least zero."""
    simulated: bool | None = None
    version: str | None = None
    identity: str | None = None
    """The same for two addresses that lead to one process, different for two processes."""
    started_at: datetime | None = None
    loop_interval_s: float | None = None
    """Seconds between two rounds of the trading loop, where the bot tells how often it should turn."""

    currency: str | None = None
    """The unit of every amount below."""
    equity: Decimal | None = None
    capital_base: Decimal | None = None
    realized_profit: Decimal | None = None
    open_profit: Decimal | None = None
    win_rate: Decimal | None = None
    """Share of closed trades that won, 0 to 1; unknown before the first closed trade."""
    max_drawdown: Decimal | None = None
    """As the bot itself tells it, 0 to 1; families differ in what they count. Our own comes from the equity series."""
    closed_trades: int | None = None
    open_positions: int | None = None
    tally: int | None = None
    """A count that grows until the bot begins anew, where its closed trades may not tell of that. Kept in no row."""

    def failed(self, failure: "ReadFailure") -> "Reading":
        """What was learned before the failure, and the failure."""
        credential_ok = self.credential_ok if failure.credential_ok is None else failure.credential_ok
        return msgspec.structs.replace(
            self,
            reachable=self.reachable or failure.reachable,
            credential_ok=credential_ok,
            full=False,
            reason=failure.reason,
            detail=failure.detail,
            retry_after_s=failure.retry_after_s,
        )


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a bot that was asked to wind down has open. None is unknown, which is no evidence."""

    open_orders: int | None
    """Orders of its own that an exchange may still execute. One that only protects a kept position is none of them."""
    open_positions: int | None
    settled: bool = True
    """The bot itself does not say that it is still at it."""


T = TypeVar("T")
C_contra = TypeVar("C_contra", bound=Credential, contravariant=True)
G_contra = TypeVar("G_contra", bound=EngineConfig | None, contravariant=True)


class Engine(Protocol[C_contra, G_contra]):
    """One bot family: how its bots are asked, and what their answers mean in our terms."""

    @property
    def family(self) -> Family:
        """Its name, the shapes of credential and configuration, what it can, and where each figure comes from."""

    def shared_key(self, base_url: BotUrl, credential: C_contra, config: G_contra) -> Hashable | None:
        """The same for bots that one call answers for together, None where each is asked alone. Holds no secret.

        Whoever looks at bots of one key at about the same time costs their server one call: the engine sees to it.
        """

    async def check(
        self, client: GuardedClient, base_url: BotUrl, credential: C_contra, config: G_contra, *, now: datetime
    ) -> Reading:
        """The short look: liveness, credential and state, by the fewest calls that tell them. `full` is False.

        Never raises for anything that the remote side does.
        """

    async def read(
        self, client: GuardedClient, base_url: BotUrl, credential: C_contra, config: G_contra, *, now: datetime
    ) -> Reading:
        """All that the family tells, what `check` tells included. Never raises for what the remote side does."""

    async def control(
        self, client: GuardedClient, base_url: BotUrl, credential: C_contra, config: G_contra, action: Action
    ) -> None:
        """Ask the bot to start, stop or pause its trading; returns when that was taken. Asking again changes nothing.

        Whether it came true is for a later reading's `trading_state` to say. Raises `ControlRefused`, `ReadFailure`,
        `EgressError`.
        """

    async def drain(self, client: GuardedClient, base_url: BotUrl, credential: C_contra, *, close: bool) -> None:
        """Ask one bot to make no new entries and to cancel its orders, with ``close`` also to close its positions.

        Asking again changes nothing. Only for families that can (`Capability.DRAIN`). Raises `DrainRefused`,
        `ReadFailure`, `EgressError`.
        """

    async def drained(self, client: GuardedClient, base_url: BotUrl, credential: C_contra, *, close: bool) -> Standing:
        """What a bot that was asked has open still. May see to it that what was asked goes on. Raises as `drain`."""


class Outside:
    """What families share whose bots only run elsewhere, one at an address: nothing to wind down, nothing shared."""

    def shared_key(self, base_url: BotUrl, credential: object, config: object) -> Hashable | None:  # noqa: ARG002
        """Each is asked alone."""
        return None

    async def drain(self, client: GuardedClient, base_url: BotUrl, credential: object, *, close: bool) -> None:  # noqa: ARG002
        """Always refused."""
        raise DrainRefused("Bots of this family are not run here, and offer no way to wind down.")

    async def drained(self, client: GuardedClient, base_url: BotUrl, credential: object, *, close: bool) -> Standing:  # noqa: ARG002
        """Always refused."""
        raise DrainRefused("Bots of this family are not run here, and offer no way to wind down.")


class ControlRefused(Exception):  # noqa: N818  -- an outcome to report, not a fault of ours
    """The bot answers and cannot do what was asked: asking again would change nothing. The message says why."""


class DrainRefused(Exception):  # noqa: N818  -- an outcome to report, not a fault of ours
    """The bot answers and cannot wind down: asking again would change nothing. The message says why, for its owner."""


class ReadFailure(Exception):  # noqa: N818  -- an outcome to report, not a fault of ours
    """Ends a reading early; carries what the reading will say."""

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        reachable: bool,
        credential_ok: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.reachable = reachable
        self.credential_ok = credential_ok
        self.retry_after_s = retry_after_s


_EGRESS_REASONS = {
    "egress_refused": Reason.EGRESS_REFUSED,
    "unreachable": Reason.UNREACHABLE,
    "timeout": Reason.TIMEOUT,
    "too_large": Reason.BAD_PAYLOAD,
    "bad_payload": Reason.BAD_PAYLOAD,
    "redirected": Reason.HTTP_ERROR,
    "http_status": Reason.HTTP_ERROR,
}


def failure_of(error: EgressError) -> ReadFailure:
    """The reading's words for a call that gave no usable answer."""
    answered = error.code in {"too_large", "bad_payload", "redirected", "http_status"}
    return ReadFailure(_EGRESS_REASONS[error.code], error.message, reachable=answered)


def accepted(response: Response, shape: type[T]) -> T:
    """The answer as `shape`. Raises `ReadFailure` for a status other than 2xx, `EgressError` for another form."""
    if 200 <= response.status < 300:
        return response.decode(shape)
    raise refusal(response)


class _Ping(msgspec.Struct):
    status: str


def check_pong(response: Response) -> None:
    """See that a liveness call was answered by a bot and not by whatever else listens there. Raises as `accepted`."""
    if accepted(response, _Ping).status != "pong":
        raise ReadFailure(Reason.BAD_PAYLOAD, "The address answers, but not as a bot.", reachable=True)


def refusal(response: Response) -> ReadFailure:
    """What an HTTP status other than success means for a bot of any family."""
    status = response.status
    if status in {401, 403}:
        return ReadFailure(Reason.AUTH, "The bot refuses the credentials.", reachable=True, credential_ok=False)
    if status == 429:
        told = response.retry_after_s
        wait = None if told is None else min(told, LONGEST_REST_S)
        return ReadFailure(Reason.RATE_LIMITED, "The bot asks for fewer calls.", reachable=True, retry_after_s=wait)
    if status == 404:
        detail = "The address answers, but not with this bot's API. Check the address and the engine."
        return ReadFailure(Reason.HTTP_ERROR, detail, reachable=True)
    if status == 400:
        # Our requests are well formed: by far the most often, a server that speaks TLS alone was asked without.
        detail = "The bot answers with HTTP 400. Where it is reached by https, its URL has to begin with https://."
        return ReadFailure(Reason.HTTP_ERROR, detail, reachable=True)
    if status in {502, 503, 504}:
        # Something answers in the bot's stead: the bot itself was not reached.
        detail = f"A proxy answers with HTTP {status}: the bot behind it does not."
        return ReadFailure(Reason.HTTP_ERROR, detail, reachable=False)
    return ReadFailure(Reason.HTTP_ERROR, f"The bot answers with HTTP {status}.", reachable=True)
