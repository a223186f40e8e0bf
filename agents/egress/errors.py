"""How a guarded call fails: one error type with seven stable codes, and one for what is no fault of the remote."""

from typing import Literal, TypeAlias

EgressCode: TypeAlias = Literal[
    "egress_refused",  # the address may not be reached by our rules
    "unreachable",  # no such name, connection refused or broken, TLS not trusted
    "timeout",  # not connected, or not answered, within the budget
    "too_large",  # headers or body over the limit, compressed or not
    "redirected",  # 3xx: we never follow, a credential is bound to its origin
    "bad_payload",  # not HTTP, not JSON, or not the JSON expected
    "http_status",  # a status that the caller has no use for
]


class EgressError(Exception):
    """A call that gave no usable answer.

    The message is for people and safe to show to a tenant: it holds no address, no credential, nothing the remote sent.
    """

    def __init__(self, code: EgressCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class MeansExhausted(Exception):  # noqa: N818 - a state of this machine
    """No call was made: this process has no file or memory left for it. Nothing can be said about the remote.

    Apart from `EgressError`, so that nobody who judges a remote by its errors takes it for one.
    """
