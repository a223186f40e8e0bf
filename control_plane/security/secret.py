"""A value that must not be shown: no repr, no string form, not serialisable, not picklable, not copied."""

from __future__ import annotations

import hmac
from typing import NoReturn, final


@final
class Secret:
    """Opened bytes on their short way to where they are used. Only the vault makes one."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves. Keep them in a local variable, never in an attribute, a message or a log."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> NoReturn:
        raise TypeError("a secret is not hashable: it must not become a key of something that lives on")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret has no state to be stored")

    def __copy__(self) -> NoReturn:
        raise TypeError("a secret is not copied: it lives in one place")

    def __deepcopy__(self, _memo: object) -> NoReturn:
        raise TypeError("a secret is not copied: it lives in one place")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("a kind of secret of its own might show what it holds")
