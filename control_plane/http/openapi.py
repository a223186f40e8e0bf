"""How an operation describes itself: a summary, its tag, the scope it needs, and every error it may answer."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from control_plane.http.problems import MEDIA_TYPE

_MEANINGS = {
    400: "The request is malformed; `errors` names the fields.",
    401: "No credential, or one that does not hold.",
    403: "Not allowed.",
    404: "Absent, or another tenant's.",
    409: "It clashes with what is there, or with the state the thing is in.",
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


def operation(
    summary: str, *, tag: str, scope: str | None = None, auth: bool = True, errors: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Keyword arguments for a route handler."""
    statuses = {400, 503, *errors} | ({401, 403} if auth else set())
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
        },
        "opt": {"scope": scope, "auth": auth},
    }
    if auth:
        options["security"] = [{"bearer": []}]
    if scope is not None:
        options["description"] = f"Needs the scope `{scope}`."
    return options
