"""Signing in by the OpenID provider: there, back, and the second factor in between."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect

from control_plane.dashboard.entrance import (
    FOR_GUESTS,
    enter,
    is_signed_in,
    oidc_name,
    refused,
    sign_in_form,
    told,
    visitor_of,
)
from control_plane.dashboard.forms import Form, FormDependency, FormState, in_words
from control_plane.dashboard.pages.account import Next
from control_plane.dashboard.pages.own.exchange import LINK, SIGN_IN, Kept, drop, keep, kept_for
from control_plane.dashboard.pages.own.identities import identities_shown
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.session import local_path
from control_plane.errors import AppError, UnacceptableError
from control_plane.http.address import client_address
from control_plane.http.caller import Caller
from control_plane.identity import identities, oidc
from control_plane.identity.factor_schemas import OidcProof, OidcSignIn
from control_plane.identity.factors import TotpFailedError, TotpRequiredError
from control_plane.identity.identities import LINK_RULE
from control_plane.identity.oidc import CALLBACK_PATH, ExchangeRefusedError
from control_plane.identity.sign_in import SignedIn
from control_plane.security.limits import TooManyAttemptsError, take

Code = Annotated[str, QueryParameter(name="code", max_length=4096)]
State = Annotated[str, QueryParameter(name="state", max_length=200)]
Declined = Annotated[str | None, QueryParameter(name="error", max_length=200)]

_FIELDS = ("totp",)


@get("/sign-in/oidc", opt=FOR_GUESTS)
async def start_page(request: Request[Any, Any, Any], then: Next = None) -> Response[Any]:
    """Off to the provider. The browser keeps which sign-in it began."""
    if is_signed_in(request):
        return go(request, local_path(then) or "/")
    state = request.app.state
    after = local_path(then) or ""
    try:
        await identities.count_attempt(state.database, client_address(request))
        begun = await oidc.start(state.database, state.settings, None)
    except AppError as error:
        return _not_let_in(request, after, error)
    kept = Kept(purpose=SIGN_IN, state=begun.state, then=after)
    return Redirect(begun.authorization_url, status_code=303, cookies=[keep(state.settings, kept)])


@get(CALLBACK_PATH, opt=FOR_GUESTS)
async def back_page(
    request: Request[Any, Any, Any], code: Code = "", given: State = "", declined: Declined = None
) -> Response[Any]:
    """Back from the provider, with a code or with a refusal. Nothing of what the address says is put into a page."""
    kept = kept_for(request, given)
    if kept is None:
        return _not_let_in(request, "", ExchangeRefusedError())
    if declined is not None:
        return await _stopped(request, kept, _declined(request))
    try:
        proof = msgspec.convert({"code": code, "state": given}, OidcProof)
    except msgspec.ValidationError:
        return await _stopped(request, kept, ExchangeRefusedError())
    if kept.purpose == LINK:
        return await _link(request, kept, proof)
    return await _enter(request, kept, proof, Form(()))


@post(CALLBACK_PATH, opt=FOR_GUESTS)
async def factor_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """The same sign-in once more, with the second factor."""
    kept = kept_for(request, form.get("state"))
    if kept is None or kept.purpose != SIGN_IN:
        return _not_let_in(request, "", ExchangeRefusedError())
    try:
        proof = msgspec.convert({"code": form.get("code"), "state": form.get("state")}, OidcProof)
    except msgspec.ValidationError:
        return await _stopped(request, kept, ExchangeRefusedError())
    return await _enter(request, kept, proof, form)


async def _enter(request: Request[Any, Any, Any], kept: Kept, proof: OidcProof, form: Form) -> Response[Any]:
    try:
        data = form.read(OidcSignIn, code=proof.code, state=proof.state)
        signed_in = await _signed_in(request, data)
    except AppError as error:
        asked = isinstance(error, TotpRequiredError | TotpFailedError | UnacceptableError)
        # With a code typed in, the sign-in is still good where it was not even looked at, or the seed cannot be read.
        kept_good = isinstance(error, TooManyAttemptsError) or error.code == "totp_unreadable"
        if asked or (kept_good and form.fields):
            return _second_step(request, proof, refused(form, error, shown=_FIELDS), error)
        return await _stopped(request, kept, error)
    entered = enter(request, signed_in, kept.then or "/")
    entered.cookies.append(drop(request.app.state.settings))
    return entered


async def _signed_in(request: Request[Any, Any, Any], data: OidcSignIn) -> SignedIn:
    state = request.app.state
    return await oidc.sign_in(
        state.database,
        state.settings,
        state.data_keys,
        data,
        address=client_address(request),
        user_agent=request.headers.get("user-agent"),
    )


async def _link(request: Request[Any, Any, Any], kept: Kept, given: OidcProof) -> Response[Any]:
    caller = visitor_of(request).caller
    if caller is None:
        return go(request, "/sign-in?next=%2Faccount%2Fidentities", cookies=[drop(request.app.state.settings)])
    try:
        await take(caller.database, LINK_RULE, str(caller.principal.user_id))
        proof, exchange = await oidc.redeem(caller.database, request.app.state.settings, caller.principal, given)

        async def spend() -> bool:
            return await oidc.end(caller.database, exchange)

        await identities.link(caller.database, caller.principal, proof, spend)
    except AppError as error:
        return await _stopped(request, kept, error)
    cookies = [drop(request.app.state.settings)]
    return go(request, "/account/identities", say="identity-linked", cookies=cookies)


def _second_step(request: Request[Any, Any, Any], proof: OidcProof, form: FormState, error: AppError) -> Response[str]:
    name = oidc_name(request.app.state.settings) or ""
    shown = page(request, "account/second_step.html", status_code=error.status, form=form, proof=proof, oidc_name=name)
    return told(shown, error)


async def _stopped(request: Request[Any, Any, Any], kept: Kept, error: AppError) -> Response[Any]:
    """Where the sign-in was begun, with what came between. It is over: the browser forgets it."""
    caller: Caller | None = visitor_of(request).caller
    if kept.purpose == LINK and caller is not None:
        shown = await identities_shown(request, caller, FormState(error=in_words(error.detail)), error)
    else:
        shown = _not_let_in(request, kept.then, error)
    shown.cookies.append(drop(request.app.state.settings))
    return shown


def _not_let_in(request: Request[Any, Any, Any], then: str, error: AppError) -> Response[str]:
    return sign_in_form(request, FormState(error=in_words(error.detail)), then, error=error)


def _declined(request: Request[Any, Any, Any]) -> AppError:
    name = oidc_name(request.app.state.settings) or "the provider"
    return ExchangeRefusedError(f"{name} did not sign you in: try again, or use another way", code="provider_declined")


HANDLERS = [start_page, back_page, factor_action]
