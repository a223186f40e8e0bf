"""What pages load besides themselves: their assets, the stream of changes, the reference of the API."""

from __future__ import annotations

import mimetypes
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath
from litestar.response import File, ServerSentEvent

from control_plane.dashboard.assets import URL_PREFIX, AssetManifest
from control_plane.dashboard.rendering import page
from control_plane.dashboard.session import still_signed_in
from control_plane.errors import NotFoundError
from control_plane.http.caller import CallerDependency
from control_plane.live.stream import event_stream

# A file's name holds a hash of its content: what is under a name can never change.
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


@get(URL_PREFIX + "/{name:str}", include_in_schema=False)
async def asset_file(request: Request[Any, Any, Any], name: FromPath[str]) -> File:
    """A file of the present build and nothing else: the name is looked up, never made into a path."""
    assets: AssetManifest = request.app.state.assets
    if name not in assets.files.values():
        raise NotFoundError("asset")
    kind = mimetypes.guess_type(name)[0]
    return File(
        assets.directory / name, media_type=kind, headers=_FOR_EVER, content_disposition_type="inline", filename=name
    )


@get("/events/live", opt={"page": False})
async def live_events(request: Request[Any, Any, Any], caller: CallerDependency) -> ServerSentEvent:
    """The same stream as the API's, for the person whose browser asks."""
    caller.principal.require("bots:read")
    return event_stream(
        request.app.state.hub,
        caller.database,
        caller.principal.binding,
        request.headers.get("last-event-id"),
        still_good=lambda: still_signed_in(request, caller),
    )


@get("/api/docs", opt={"guest": True})
async def api_docs_page(request: Request[Any, Any, Any]) -> Response[str]:
    """The reference, drawn from our own document with our own script: it works with no internet."""
    return page(request, "api_docs.html", spec_url="/api/openapi.json")


HANDLERS = [live_events, api_docs_page]
