"""Routes of engines. What they tell is the same for everybody who is signed in."""

from __future__ import annotations

from litestar import Router, get

from control_plane.engines.registry import FAMILIES
from control_plane.engines.schemas import EngineList, view_of
from control_plane.http.caller import CallerDependency
from control_plane.http.openapi import operation


@get("/engines", **operation("List the bot families", tag="bots", scope="bots:read"))
async def list_engines_route(caller: CallerDependency) -> EngineList:
    """What a bot's `engine` may be, what each can tell and do, and the JSON Schemas of what registering one takes."""
    caller.principal.require("bots:read")
    return EngineList([view_of(family) for _, family in sorted(FAMILIES.items())])


engines_router = Router("/", route_handlers=[list_engines_route])
