"""The Jinja environment of the pages: escaping on, an unknown name is an error, and the few helpers that pages use."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from control_plane.dashboard import alerting, families, formatting, health_bar, spark, steering, wording
from control_plane.dashboard.assets import AssetManifest

TEMPLATES = Path(__file__).parent / "templates"


def create_environment(assets: AssetManifest) -> Environment:
    """Build the environment. Pages call `asset("app.js")` for addresses; every figure goes through a filter.

    A name that a page uses and the route did not give raises at once instead of leaving a hole in the page.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        asset=assets.url,
        server_time=lambda: formatting.iso(datetime.now(UTC)),
        crash_choices=wording.CRASH_CHOICES,
        stop_choices=wording.STOP_CHOICES,
        reach_choices=wording.REACH_CHOICES,
    )
    environment.filters.update(
        money=formatting.money,
        percent=formatting.percent,
        count=formatting.count,
        duration=formatting.duration,
        tone=formatting.tone,
        ago=formatting.ago,
        when=formatting.when,
        iso=formatting.iso,
        size=formatting.size,
        cores=formatting.cores,
        spark=spark.of,
        uptime=health_bar.share,
        length_of_time=health_bar.length,
        state_name=health_bar.state_name,
        health_pieces=health_bar.pieces,
        health_states=health_bar.states,
        health_rows=health_bar.rows,
        read=wording.read,
        bot_words=wording.bot_words,
        bot_actions=wording.bot_actions,
        is_hosted=wording.is_hosted,
        event_words=wording.event_words,
        copy_words=wording.copy_words,
        cause_words=wording.cause_words,
        orders_warning=wording.orders_warning,
        choice_words=wording.choice_words,
        provenance=families.provenance,
        guard_words=wording.guard_words,
        registration_outcome=wording.registration_outcome,
        trading_actions=steering.trading_actions,
        trading_words=steering.trading_words,
        reason_label=steering.reason_label,
        **alerting.FILTERS,
    )
    return environment
