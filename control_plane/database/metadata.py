"""Every model in one place, for migrations and for tests that walk the schema."""

from __future__ import annotations

from sqlalchemy import MetaData

from control_plane.alerts import models as alerts
from control_plane.api_keys import models as api_keys
from control_plane.audit import models as audit
from control_plane.bots import leases, trading_models
from control_plane.bots import models as bots
from control_plane.database.base import Base
from control_plane.identity import account_models as accounts
from control_plane.identity import factor_models
from control_plane.identity import models as identity
from control_plane.live import models as live
from control_plane.mail import models as mail
from control_plane.performance import models as performance
from control_plane.security import models as security
from control_plane.subscriptions import models as subscriptions
from control_plane.templates import models as templates
from control_plane.tenants import models as tenants

MODULES = (
    identity,
    accounts,
    factor_models,
    api_keys,
    security,
    mail,
    bots,
    leases,
    trading_models,
    templates,
    subscriptions,
    performance,
    audit,
    tenants,
    live,
    alerts,
)

metadata: MetaData = Base.metadata
