"""The second factor: set up, its recovery codes shown once, taken away."""

from __future__ import annotations

import base64
from typing import Any

from litestar import Request, Response, get, post

from control_plane.dashboard.entrance import TRIES, told
from control_plane.dashboard.forms import Form, FormDependency, FormState, in_words
from control_plane.dashboard.pages.own.profile import ANY_TENANT
from control_plane.dashboard.pages.own.proof import still_them
from control_plane.dashboard.rendering import go, page
from control_plane.errors import AppError
from control_plane.http.caller import Caller, CallerDependency
from control_plane.identity import factors, totp
from control_plane.identity.factor_schemas import Code, RecoveryCodes, TotpSeed

_PAGE = "/account/second-factor"
_GROUP = 4
# What the services tell programs, for people where it is not for them as it stands.
_WORDS = {
    "totp_not_begun": "There is nothing to confirm: begin to set it up first.",
    "totp_on": "A second factor is on already. Turn it off first to set another one up.",
}


@get(_PAGE, opt=ANY_TENANT)
async def factor_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """How it stands, and what can be done about it."""
    return await _factor(request, caller, FormState())


async def _factor(
    request: Request[Any, Any, Any],
    caller: Caller,
    form: FormState,
    *,
    error: AppError | None = None,
    pending: bool = False,
    seed: TotpSeed | None = None,
) -> Response[str]:
    async with caller.transaction() as session:
        factor = await factors.view(session, caller.principal.user_id)
    status = error.status if error else 201 if seed else 200
    shown = page(
        request,
        "account/second_factor.html",
        status_code=status,
        factor=factor,
        form=form,
        pending=pending and not factor.enabled,
        setup=_setup(seed) if seed else None,
    )
    return told(shown, error) if error else shown


def _setup(seed: TotpSeed) -> dict[str, Any]:
    """The seed as people take it over: a picture to scan, and groups to type."""
    picture = base64.b64encode(totp.qr_svg(seed.otpauth_uri).encode()).decode()
    groups = [seed.secret[start : start + _GROUP] for start in range(0, len(seed.secret), _GROUP)]
    return {"picture": f"data:image/svg+xml;base64,{picture}", "groups": groups, "uri": seed.otpauth_uri}


def _refused(form: Form, error: AppError, *shown: str) -> FormState:
    state = form.refused(error, shown=shown)
    words = _WORDS.get(error.code)
    if words is not None:
        return FormState(error=words)
    if error.code == "totp_failed" and not state.errors:
        return FormState(errors={"code": in_words(error.detail)})
    return state


@post(f"{_PAGE}/begin", opt=ANY_TENANT)
async def begin_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[str]:
    """Make a seed and show it in this one answer."""
    try:
        await still_them(request, caller, form)
        async with caller.transaction() as session:
            seed = await factors.begin(session, caller.principal, request.app.state.data_keys)
    except TRIES as error:
        return await _factor(request, caller, _refused(form, error, "password"), error=error)
    return await _factor(request, caller, FormState(), pending=True, seed=seed)


@post(f"{_PAGE}/confirm", opt=ANY_TENANT)
async def confirm_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[str]:
    """Turn it on by a code of the seed; the recovery codes are shown in this one answer."""
    try:
        data = form.read(Code)
        codes = await factors.confirm(caller.database, caller.principal, request.app.state.data_keys, data.code)
    except TRIES as error:
        pending = error.code != "totp_not_begun"
        return await _factor(request, caller, _refused(form, error, "code"), error=error, pending=pending)
    return _codes(request, codes, first=True)


@post(f"{_PAGE}/recovery-codes", opt=ANY_TENANT)
async def renew_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[str]:
    """Make new recovery codes and show them in this one answer."""
    try:
        data = form.read(Code)
        codes = await factors.renew_codes(caller.database, caller.principal, request.app.state.data_keys, data.code)
    except TRIES as error:
        return await _factor(request, caller, _refused(form, error, "code"), error=error)
    return _codes(request, codes, first=False)


def _codes(request: Request[Any, Any, Any], codes: RecoveryCodes, *, first: bool) -> Response[str]:
    return page(request, "account/recovery_codes.html", codes=codes.recovery_codes, first=first)


@post(f"{_PAGE}/off", opt=ANY_TENANT)
async def off_action(request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency) -> Response[Any]:
    """Take it away by a code of it, or by a recovery code."""
    try:
        data = form.read(Code)
        await factors.remove(caller.database, caller.principal, request.app.state.data_keys, data.code)
    except TRIES as error:
        return await _factor(request, caller, _refused(form, error, "code"), error=error)
    return go(request, _PAGE, say="second-factor-off")


HANDLERS = [factor_page, begin_action, confirm_action, renew_action, off_action]
