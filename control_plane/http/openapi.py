"""How an operation describes itself: a summary, its tag, the scope it needs, and every error it may answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Operation, Parameter, Schema

from control_plane.http.caller import authenticate
from control_plane.http.problems import MEDIA_TYPE

_MEANINGS = {
    400: "The request is malformed; `errors` names the fields.",
    401: "No credential, or one that does not hold.",
    403: "Not allowed.",
    404: "Absent, or another tenant's.",
    409: "It clashes with what is there, or with the state the thing is in.",
    413: "The body is larger than 1 MiB.",
    422: "Well formed, but not acceptable.",
    429: "Too many requests; see `Retry-After`.",
    503: "A part of the platform is away; see `Retry-After`.",
}


class ProblemField(msgspec.Struct, frozen=True):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457 problem details. ``code`` is stable."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[ProblemField] | None = None


_TENANT_HEADER = Parameter(
    name="X-Tenant-ID",
    param_in="header",
    description="Which tenant to act in, for a person who is in several.",
    schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID),
)
_KEY_HEADER = Parameter(
    name="Idempotency-Key",
    param_in="header",
    description="Any text of your own: the same key within 24 hours gets the first answer, and nothing is done twice.",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=200),
)


def operation(
    summary: str,
    *,
    tag: str,
    scope: str | None = None,
    auth: bool = True,
    tenant: Literal["header", "path", "any"] = "header",
    person: bool = False,
    even_suspended: bool = False,
    idempotent: bool = False,
    errors: tuple[int, ...] = (),
    also: dict[int, ResponseSpec] | None = None,
) -> dict[str, Any]:
    """Keyword arguments for a route handler: what is documented here is also what is enforced.

    With ``auth`` nobody without a good credential gets in, with ``scope`` nobody who does not hold it, with ``person``
    no API key. ``tenant`` tells which tenant is acted in: the one of ``X-Tenant-ID`` or the caller's first ("header");
    the one that the path names ("path"); or as with "header", but open to a person who is in none ("any"). With
    ``even_suspended`` the operation works in a suspended tenant though it is no reading. ``errors`` are statuses that
    not every operation has, ``also`` further answers that are no errors.
    """
    statuses = {400, 413, 503, *errors} | ({401, 403} if auth else set()) | ({422} if idempotent else set())
    statuses |= {404} if tenant == "path" else set()
    headers = [_TENANT_HEADER] * (auth and tenant != "path") + [_KEY_HEADER] * idempotent
    options: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "raises": [],
        "responses": {
            status: ResponseSpec(
                data_container=Problem,
                description=_MEANINGS[status],
                media_type=MEDIA_TYPE,
                generate_examples=False,
            )
            for status in sorted(statuses)
        }
        | (also or {}),
        "operation_class": _described(scope, headers, person=person),
        "opt": {"scope": scope, "auth": auth, "tenant": tenant, "person": person, "even_suspended": even_suspended},
    }
    if auth:
        options["security"] = [{"bearer": [scope] if scope else []}]
        options["guards"] = [authenticate]
    return options


def _described(scope: str | None, headers: list[Parameter], *, person: bool) -> type[Operation]:
    @dataclass
    class Described(Operation):
        """An operation with its scope said in words and its headers listed."""

        def __post_init__(self) -> None:
            if scope is not None:
                self.description = f"{self.description}\n\nNeeds the scope `{scope}`."
            if person:
                self.description = f"{self.description}\n\nNeeds a signed-in person: an API key cannot do it."
            self.parameters = [*(self.parameters or ()), *headers] or None
            if self.request_body is None and self.responses is not None:
                self.responses.pop("413", None)

    return Described
