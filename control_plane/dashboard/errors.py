"""Errors of pages: the same words as the API's, on a page instead of in a problem document."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.exceptions import MethodNotAllowedException
from litestar.types import ExceptionHandler, ExceptionHandlersMap

from control_plane.dashboard.forms import sentence
from control_plane.dashboard.rendering import current_path, go, page
from control_plane.dashboard.session import NoTenantError, SignInNeededError
from control_plane.http.problems import EXCEPTION_HANDLERS, app_error, http_error

_FOR_PROGRAMS = ("/api", "/health", "/assets")


def for_people(request: Request[Any, Any, Any]) -> bool:
    """Whether the answer is shown to a person: routes say so; where there is no route, the address decides."""
    handler: Any = request.scope.get("route_handler")  # None where no route was found
    if handler is not None:
        return bool(handler.opt.get("page"))
    path = request.url.path
    return not any(path == prefix or path.startswith(f"{prefix}/") for prefix in _FOR_PROGRAMS)


def _on_a_page(told: ExceptionHandler[Any]) -> ExceptionHandler[Any]:
    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        problem = told(request, error)
        if not for_people(request):
            return problem
        said = problem.content
        shown = page(
            request,
            "error.html",
            status_code=problem.status_code or 500,
            status=problem.status_code,
            title=said["title"],
            detail=sentence(said["detail"]),
            code=said["code"],
        )
        shown.headers.update(problem.headers)
        return shown

    return answer


def _sign_in_needed(request: Request[Any, Any, Any], error: SignInNeededError) -> Response[Any]:
    """Pages lead to sign-in and back; a part of a page that refreshes itself is told 401, and reloads the page."""
    if not for_people(request):
        return app_error(request, error)
    if "hx-request" in request.headers:
        return _on_a_page(app_error)(request, error)
    back = quote(current_path(request), safe="") if request.method == "GET" else ""
    return go(request, f"/sign-in?next={back}" if back not in {"", "%2F"} else "/sign-in")


def _no_tenant(request: Request[Any, Any, Any], error: NoTenantError) -> Response[Any]:
    """Pages lead to where a tenant is made or joined; whatever else was asked for is refused."""
    if request.method != "GET" or "hx-request" in request.headers or not for_people(request):
        return _on_a_page(app_error)(request, error)
    return go(request, "/tenants/new")


def _only_for_forms(request: Request[Any, Any, Any], error: MethodNotAllowedException) -> Response[Any]:
    """What forms are sent to is nothing to see: the page above it is meant. A refused form leaves its address in the
    browser, and `/bots` is what people type."""
    if request.method not in {"GET", "HEAD"} or "hx-request" in request.headers or not for_people(request):
        return _on_a_page(http_error)(request, error)
    above, _, _ = str(request.scope["path"]).rstrip("/").rpartition("/")
    return go(request, above or "/")


PAGE_AND_PROBLEM_HANDLERS: ExceptionHandlersMap = {
    **{kind: _on_a_page(told) for kind, told in EXCEPTION_HANDLERS.items()},
    SignInNeededError: _sign_in_needed,
    NoTenantError: _no_tenant,
    MethodNotAllowedException: _only_for_forms,
}
"""For the whole application: the API keeps its problem documents, everything else gets a page."""
