"""OctoBot, in its classic web interface and in its node mode: what is known without calling a bot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from control_plane.engines.family import Action, Capability, EngineConfig, Family
from control_plane.security.credentials import Credential, Text, UserName

_Currency = Annotated[str, msgspec.Meta(min_length=1, max_length=16, pattern=r"\A[A-Za-z0-9._-]+\Z")]


class OctobotCredential(Credential, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """classic: the password of its web interface, or nothing where it asks for none. node: wallet and passphrase."""

    username: UserName | None = None
    password: Text | None = None

    hints: ClassVar[Mapping[str, str]] = {
        "username": "the wallet address of a node, 1 to 128 characters; leave it out for a classic OctoBot",
        "password": "1 to 256 characters without control characters",
    }

    @property
    def secret(self) -> str:
        return self.password or ""


class OctobotConfig(EngineConfig, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which of OctoBot's two faces, and what to ask it for."""

    mode: Literal["classic", "node"] = "classic"
    """`classic`: the web interface (`--standalone`, port 5001). `node`: the default since 2026 (port 8000)."""
    currency: _Currency = "USDT"
    """classic: in what the worth of its portfolio is asked for."""

    hints: ClassVar[Mapping[str, str]] = {"mode": "classic or node", "currency": "a short word such as USDT"}
    purposes: ClassVar[Mapping[str, str]] = {
        "mode": "the web interface of one OctoBot (classic), or the API of an OctoBot node",
        "currency": "in what the worth of its portfolio is asked for (classic)",
    }

    def misfit(self, credential: Credential) -> tuple[str, str] | None:
        if not isinstance(credential, OctobotCredential):
            return None
        if self.mode == "node":
            for name in ("username", "password"):
                if getattr(credential, name) is None:
                    return name, "is missing: a node asks for its wallet address and passphrase"
        elif credential.username is not None:
            return "username", "is for a node; a classic OctoBot has a password only"
        return None

    def steerable(self, actions: frozenset[Action]) -> frozenset[Action]:
        # A classic one told to stop ends its whole process, which nothing here could undo.
        return actions if self.mode == "node" else frozenset()

    @property
    def credential_kind(self) -> str:
        return self.mode


FAMILY: Final = Family(
    name="octobot",
    title="OctoBot",
    about="Its web interface (classic), or a node of 2026 and later.",
    credential=OctobotCredential,
    config=OctobotConfig,
    capabilities=frozenset(
        {
            Capability.TRADING_STATE,
            Capability.EQUITY,
            Capability.PERFORMANCE,
            Capability.POSITIONS,
            Capability.CONTROL_STOP,
        }
    ),
    provenance={
        "latency_ms": "The time of /api/ping, or of /nodes/me for a node.",
        "trading_state": "node: status. A classic OctoBot does not tell one.",
        "simulated": "classic: what its positions, or where it has none its trades, are filed under; unknown before the"
        " first, and where both kinds are there.",
        "version": "classic: /api/version.",
        "started_at": "classic: the time in the answer of /api/ping.",
        "currency": "classic: the currency that you choose (USDT unless you say otherwise). Profits in another are left"
        " out as unknown, never added up.",
        "equity": "classic: the newest value of its portfolio's daily history, while that is not older than two days.",
        "capital_base": "classic: the first value of that history.",
        "realized_profit": "classic: the sum of pnl in /api/pnl_history.",
        "open_profit": "classic: the sum of unrealized_pnl of its positions, where it has any.",
        "win_rate": "classic: the share of entries of /api/pnl_history with a profit above zero.",
        "closed_trades": "classic: the entries of /api/pnl_history.",
        "open_positions": "classic: the length of /api/positions, which only derivatives have.",
    },
)
