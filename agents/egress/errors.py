"""How a guarded call fails: one error type, seven stable codes."""

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
