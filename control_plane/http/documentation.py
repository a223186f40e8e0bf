"""``/api/openapi.json``: the full truth about the API."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get


@get("/api/openapi.json", include_in_schema=False)
async def openapi_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The OpenAPI document, made once a process."""
    state = request.app.state
    if "openapi_document" not in state:
        state["openapi_document"] = msgspec.json.encode(request.app.openapi_schema.to_schema())
    return Response(state["openapi_document"], media_type="application/json")
