"""create_app(): the only place where plugins, middleware and routers meet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from control_plane.alerts.routes import alerts_router
from control_plane.amounts import PlainDecimal, encode_plain
from control_plane.api_keys.routes import api_keys_router
from control_plane.audit.routes import audit_router
from control_plane.bots.routes import bots_router
from control_plane.dashboard.assets import AssetManifest
from control_plane.dashboard.errors import PAGE_AND_PROBLEM_HANDLERS
from control_plane.dashboard.pages.support import asset_file
from control_plane.dashboard.router import dashboard_router
from control_plane.dashboard.templating import create_environment
from control_plane.database.check import require_ready
from control_plane.database.sessions import Database
from control_plane.engines.routes import engines_router
from control_plane.http.caller import provide_caller
from control_plane.http.documentation import openapi_document
from control_plane.http.health import live_route, ready_route
from control_plane.http.hygiene import HygieneMiddleware
from control_plane.identity.factor_routes import factors_router
from control_plane.identity.provider_routes import providers_router
from control_plane.identity.routes import identity_router
from control_plane.live.feeds import Feeds
from control_plane.live.hub import Hub
from control_plane.live.routes import live_router
from control_plane.performance.routes import performance_router
from control_plane.security.datakey import DataKeyStore
from control_plane.security.passwords import Passwords
from control_plane.settings import Settings
from control_plane.subscriptions.routes import subscriptions_router
from control_plane.templates.routes import templates_router
from control_plane.tenants.egress_routes import egress_router
from control_plane.tenants.routes import tenants_router
from control_plane.webhooks.routes import webhooks_router

API_PREFIX = "/api/v1"
_BODY_LIMIT = 1024 * 1024


def create_app(settings: Settings) -> Litestar:
    """The web application. ``settings.database_url`` must name role ``tradewise_api``.

    Raises AssetsMissingError where the dashboard's scripts and styles are not built: an installation without its pages
    is told so at once, with the remedy. Start-up raises DatabaseNotReadyError where the schema, the policies or the
    role are not fit to serve.
    """
    assets = AssetManifest.load()
    app = Litestar(
        route_handlers=[
            live_route,
            ready_route,
            openapi_document,
            Router(
                path=API_PREFIX,
                route_handlers=[
                    identity_router,
                    api_keys_router,
                    factors_router,
                    providers_router,
                    tenants_router,
                    egress_router,
                    bots_router,
                    performance_router,
                    engines_router,
                    templates_router,
                    subscriptions_router,
                    live_router,
                    audit_router,
                    webhooks_router,
                    alerts_router,
                ],
            ),
            dashboard_router,
            asset_file,
        ],
        dependencies={"caller": Provide(provide_caller)},
        exception_handlers=PAGE_AND_PROBLEM_HANDLERS,
        type_encoders={PlainDecimal: encode_plain},
        allowed_hosts=_allowed_hosts(settings),
        lifespan=[_lifespan],
        openapi_config=_openapi(),
        request_max_body_size=_BODY_LIMIT,
        debug=False,
        logging_config=None,
    )
    # Around the router, not in it: an answer to an address that nobody serves needs its headers and its line as well.
    app.asgi_handler = HygieneMiddleware(https=settings.secure_cookies)(app.asgi_handler)
    equip(app, settings, assets)
    return app


def equip(app: Litestar, settings: Settings, assets: AssetManifest) -> None:
    """Give ``app``, which does not run, all that it serves from: nothing of an installation is held anywhere else."""
    if settings.database_url is None:
        raise ValueError("TRADEWISE_DATABASE_URL must be set for the API (`tradewise up` sets it by itself)")
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    hub = Hub(settings.database_url)
    app.state.settings = settings
    app.state.database = database
    app.state.passwords = Passwords(settings)
    app.state.data_keys = DataKeyStore(settings)
    app.state.hub = hub
    app.state.feeds = Feeds(hub, database)
    app.state.assets = assets
    app.state.pages = create_environment(assets)


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    database: Database = app.state.database
    try:
        async with database.engine.connect() as connection:
            await require_ready(connection, serving=True)
        async with app.state.hub:
            yield
    finally:
        await database.close()


def _allowed_hosts(settings: Settings) -> AllowedHostsConfig | None:
    if not settings.allowed_hosts:
        return None
    # Probes come from the machine itself, by whatever address they know.
    return AllowedHostsConfig(allowed_hosts=list(settings.allowed_hosts), exclude="^/health/")


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="TradeWise",
        version="1",
        summary="Hosts, watches and shares trading bots.",
        # The framework answers everything below its path by pages of its own: it gets a corner where nobody looks.
        path="/api/schema",
        render_plugins=[],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", description="A session token, or an API key (`tw_live_…`)."
                )
            }
        ),
        use_handler_docstrings=True,
    )
