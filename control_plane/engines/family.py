"""What a bot family is, apart from the program that talks to its bots: that one belongs to the agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Literal, Self, TypeAlias

import msgspec

from control_plane.security.credentials import Credential

Action: TypeAlias = Literal["start", "stop", "pause"]
"""What a bot's trading can be asked to do. The process itself goes on."""


class Capability(StrEnum):
    """What a bot family can tell or do at all, so that a missing value is not mistaken for a silent bot."""

    TRADING_STATE = "trading_state"
    LOOP_AGE = "loop_age"
    EQUITY = "equity"
    PERFORMANCE = "performance"
    POSITIONS = "positions"
    DRAIN = "drain"
    """It can be asked to wind down its trading, and told whether it has."""
    CONTROL_START = "control_start"
    CONTROL_STOP = "control_stop"
    CONTROL_PAUSE = "control_pause"


CONTROLS: Final[Mapping[Action, Capability]] = {
    "start": Capability.CONTROL_START,
    "stop": Capability.CONTROL_STOP,
    "pause": Capability.CONTROL_PAUSE,
}
"""The capability that each action needs."""


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A family's public configuration: which bot it is and how it is to be read. Holds nothing secret."""

    hints: ClassVar[Mapping[str, str]] = {}
    """What each field has to be."""
    purposes: ClassVar[Mapping[str, str]] = {}
    """What a field is for, where its name does not tell it to whoever fills in a form."""

    @property
    def part(self) -> str:
        """Which of the bots behind one address this is; empty where an address is one bot."""
        return ""

    @property
    def credential_kind(self) -> str:
        """Which kind of credential goes with it, for families that have several. Another kind needs another one."""
        return ""

    @property
    def explicit(self) -> Self:
        """The same, with all that it leaves to the order of its members in words: where it is kept they have none."""
        return self

    def steerable(self, actions: frozenset[Action]) -> frozenset[Action]:
        """Of its family's actions those that a bot so configured can be told."""
        return actions

    def problem(self) -> tuple[str, str] | None:
        """What does not go together in it, as the field's path and what to do; None where all does."""
        return None

    def misfit(self, credential: Credential) -> tuple[str, str] | None:  # noqa: ARG002 - for families that have several
        """What of a credential does not go with it, as the field's name and what to do; None where all does."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One bot family, for whoever registers a bot of it and whoever reads its figures."""

    name: str
    """The word that bots name their engine by."""
    title: str
    about: str
    credential: type[Credential]
    config: type[EngineConfig] | None = None
    """The shape of its public configuration; None where there is nothing to say."""
    capabilities: frozenset[Capability]
    provenance: Mapping[str, str]
    """Where each field of a reading comes from, in words for people. A field that is left out is never known."""
    program: str | None = field(default=None)
    """For families of third parties: `module:name` of the engine, which only agents import."""

    @property
    def actions(self) -> frozenset[Action]:
        """What its bots can be told."""
        return frozenset(action for action, needed in CONTROLS.items() if needed in self.capabilities)
