"""The ``tradewise`` command; the only file that knows both halves."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import click
from sqlalchemy.exc import DBAPIError

from control_plane.database.embedded import EmbeddedServer
from control_plane.database.roles import LOGIN_ROLES
from control_plane.settings import Settings, SettingsError, load_settings

_AGENTS = ("launcher", "poller", "scheduler", "notifier")


def say(text: str) -> None:
    """Progress for people, on standard error, at once."""
    click.echo(f"{time.strftime('%H:%M:%S')}  {text}", err=True)


def run(work: Awaitable[Any]) -> Any:
    """Run to the end on this thread's own loop."""

    async def whole() -> Any:
        return await work

    return asyncio.run(whole())


class _Group(click.Group):
    """Every error that has a code is told in one line, without a traceback, and ends with exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except SettingsError as error:
            raise click.ClickException(str(error)) from error
        except DBAPIError as error:
            raise click.ClickException(f"the database refused: {error.orig}") from error
        except asyncpg.PostgresError as error:
            raise click.ClickException(f"the database refused: {error}") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise click.ClickException(str(error) or type(error).__name__) from error


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where the embedded database, keys and logs live (default: TRADEWISE_DATA_DIR, or .tradewise).",
)


def settings_for(data_dir: Path | None = None) -> Settings:
    """Settings from the environment, with the command line's data folder winning."""
    return load_settings() if data_dir is None else load_settings(data_dir=data_dir)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tradewise")
def main() -> None:
    """TradeWise hosts, watches and shares trading bots."""


def _machine_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True),
        click.option("--host", default="127.0.0.1", show_default=True),
        data_dir_option,
        click.option("--keep-bots", is_flag=True, help="Leave hosted bots running when everything else stops."),
    ):
        command = option(command)
    return command


@main.command()
@_machine_options
def up(port: int, host: str, data_dir: Path | None, keep_bots: bool) -> None:  # noqa: FBT001
    """Everything on this machine: database, API, agents. Ctrl-C stops it all."""
    from control_plane.machine import run_machine  # lazy: each command loads its own parts

    run(run_machine(settings_for(data_dir), _hooks(), host=host, port=port, keep_bots=keep_bots, say=say))


@main.command()
@_machine_options
def demo(port: int, host: str, data_dir: Path | None, keep_bots: bool) -> None:  # noqa: FBT001
    """As `up`, with a small story in it: a creator, a template, a hosted bot, a subscriber."""
    from control_plane.demo import run_demo  # lazy: each command loads its own parts

    run(run_demo(settings_for(data_dir), _hooks(), host=host, port=port, keep_bots=keep_bots, say=say))


def _hooks() -> Any:
    from agents.launcher.setup import prepare_engine  # lazy: each command loads its own parts
    from agents.launcher.shutdown import stop_all_bots  # lazy: each command loads its own parts
    from control_plane.machine import Hooks  # lazy: each command loads its own parts

    async def stop_bots(settings: Settings, tell: Callable[[str], None]) -> int:
        return await stop_all_bots(settings, say=tell)

    return Hooks(
        ensure_engine=prepare_engine, stop_bots=stop_bots, outside_bot=(sys.executable, "-m", "agents.paper_bot")
    )


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
def api(port: int, host: str) -> None:
    """One API process (role tradewise_api, TRADEWISE_DATABASE_URL)."""
    from control_plane.logs import configure_logging  # lazy: each command loads its own parts
    from control_plane.serve import serve  # lazy: each command loads its own parts

    settings = load_settings()
    configure_logging(settings.log_level, process="api")
    serve(settings, host=host, port=port)


@main.command()
@click.argument("kind", type=click.Choice(_AGENTS))
def agent(kind: str) -> None:
    """One agent process (its own role, TRADEWISE_AGENT_DATABASE_URL)."""
    from agents.agent import run_forever  # lazy: each command loads its own parts
    from control_plane.logs import configure_logging  # lazy: each command loads its own parts

    settings = load_settings()
    configure_logging(settings.log_level, process=kind)
    run_forever(_maker(kind), kind, settings)


def _maker(kind: str) -> Any:
    """Makes an agent of one kind; nothing of the other three is loaded."""
    if kind == "launcher":
        from agents.launcher.agent import make_launcher  # lazy: each command loads its own parts

        return make_launcher
    if kind == "poller":
        from agents.poller.agent import make_poller  # lazy: each command loads its own parts

        return make_poller
    if kind == "scheduler":
        from agents.scheduler.agent import Scheduler  # lazy: each command loads its own parts

        return Scheduler
    from agents.notifier.agent import Notifier  # lazy: each command loads its own parts

    return Notifier


@main.group()
def db() -> None:
    """The database: migrations, policies, connection strings."""


def _admin_url(settings: Settings) -> str:
    """Who migrates: TRADEWISE_MIGRATION_DATABASE_URL, TRADEWISE_DATABASE_URL, or the embedded administrator."""
    given = settings.migration_database_url or settings.database_url
    return given or EmbeddedServer(settings.data_dir).url("postgres")


def _role_url(settings: Settings, kind: str) -> str:
    """A role's own way in, on the server of TRADEWISE_DATABASE_URL or the embedded one, as `up` set it up."""
    from control_plane.database.logins import login_url  # lazy: each command loads its own parts

    if settings.database_url is not None:
        return login_url(settings.database_url, settings.data_dir, LOGIN_ROLES[kind])
    return EmbeddedServer(settings.data_dir).url(LOGIN_ROLES[kind])


@db.command()
@data_dir_option
def migrate(data_dir: Path | None) -> None:
    """Bring the schema to the newest migration and apply policies/."""
    from control_plane.database.migrate import migrate as run_migration  # lazy: each command loads its own parts

    result = run(run_migration(_admin_url(settings_for(data_dir))))
    click.echo(f"at migration {result.revision} (was {result.previous or 'empty'}), policies applied")


@db.command()
@click.argument("revision")
@data_dir_option
def downgrade(revision: str, data_dir: Path | None) -> None:
    """Take the schema back to REVISION (`base`: nothing left). Data of dropped tables is lost."""
    from control_plane.database.migrate import downgrade as run_downgrade  # lazy: each command loads its own parts

    result = run(run_downgrade(_admin_url(settings_for(data_dir)), revision=revision))
    click.echo(f"at migration {result.revision or 'empty'} (was {result.previous or 'empty'})")


@db.command()
@click.option("--wait", type=click.FloatRange(0, 3600), default=0.0, help="Keep trying this many seconds.")
@data_dir_option
def check(wait: float, data_dir: Path | None) -> None:
    """Compare the live catalog with policies/; exit 1 where they differ or the schema is behind."""
    from control_plane.database.check import faults_of, wait_for_database  # lazy: each command loads its own parts

    settings = settings_for(data_dir)
    url = settings.database_url or settings.agent_database_url or EmbeddedServer(settings.data_dir).url("tradewise_api")
    faults = run(wait_for_database(url, wait)) if wait else run(faults_of(url))
    for fault in faults:
        click.echo(fault)
    if faults:
        sys.exit(1)
    click.echo("the database is at the newest migration and matches policies/")


@db.command()
@click.option("--role", type=click.Choice([*LOGIN_ROLES, "admin"]), default="api", show_default=True)
@data_dir_option
def url(role: str, data_dir: Path | None) -> None:
    """Print a connection string for ROLE, for psql and tools."""
    settings = settings_for(data_dir)
    click.echo(_admin_url(settings) if role == "admin" else _role_url(settings, role))


@main.group()
def tenants() -> None:
    """Tenants, as the operator of this installation sees them. Needs whoever migrates (see `db migrate`)."""


@tenants.command("list")
@data_dir_option
def list_tenants(data_dir: Path | None) -> None:
    """Every tenant: id, status, who suspended it, members, name."""
    from control_plane.tenants.operator import all_tenants  # lazy: each command loads its own parts

    for line in run(all_tenants(_admin_url(settings_for(data_dir)))):
        click.echo(line)


@tenants.command("suspend")
@click.argument("tenant", type=click.UUID)
@click.option("--reason", default=None, help="Words for the tenant's members, who see them.")
@data_dir_option
def suspend_tenant(tenant: UUID, reason: str | None, data_dir: Path | None) -> None:
    """Stop what TENANT runs. Its owner cannot lift this."""
    from control_plane.tenants.operator import suspend  # lazy: each command loads its own parts

    run(suspend(_admin_url(settings_for(data_dir)), tenant, reason))
    click.echo(f"{tenant} is suspended")


@tenants.command("resume")
@click.argument("tenant", type=click.UUID)
@data_dir_option
def resume_tenant(tenant: UUID, data_dir: Path | None) -> None:
    """Let TENANT run again, whoever suspended it."""
    from control_plane.tenants.operator import resume  # lazy: each command loads its own parts

    run(resume(_admin_url(settings_for(data_dir)), tenant))
    click.echo(f"{tenant} is active")


@tenants.command("plan")
@click.argument("tenant", type=click.UUID)
@click.argument("plan")
@data_dir_option
def plan_of_tenant(tenant: UUID, plan: str, data_dir: Path | None) -> None:
    """Give TENANT another PLAN of TRADEWISE_PLANS. Its bots have the new limits from their next start."""
    from control_plane.tenants.operator import set_plan  # lazy: each command loads its own parts

    settings = settings_for(data_dir)
    run(set_plan(_admin_url(settings), settings.plans, tenant, plan))
    click.echo(f"{tenant} has the plan {plan}")


@main.group()
def keys() -> None:
    """Key-encryption keys, which only agents hold."""


@keys.command("init")
@data_dir_option
def init_keys(data_dir: Path | None) -> None:
    """Make a key-encryption key in the file provider's place; an existing one is left as it is."""
    from control_plane.security.keyproviders import create_kek_file  # lazy: each command loads its own parts

    path = settings_for(data_dir).effective_kek_file
    existed = path.exists()
    create_kek_file(path)
    click.echo(f"{path} {'was there already' if existed else 'made; keep a copy where the database is not'}")


def _keys_url(settings: Settings) -> str:
    return settings.agent_database_url or _role_url(settings, "agent_scheduler")


@keys.command("status")
@data_dir_option
def keys_status(data_dir: Path | None) -> None:
    """Key pairs by key-encryption key, sealed values by key version, rotations under way."""
    from agents.keys.commands import status  # lazy: each command loads its own parts

    settings = settings_for(data_dir)
    for line in run(status(settings, _keys_url(settings))):
        click.echo(line)


@keys.command("rotate")
@click.option("--tenants", is_flag=True, help="New key pairs for all tenants, and what they sealed re-sealed.")
@click.option("--tenant", type=click.UUID, default=None, help="The same for one tenant.")
@click.option("--platform", is_flag=True, help="The same for what belongs to no tenant.")
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@click.option("--stop", is_flag=True, help="Stop what runs; the same command without --stop goes on.")
@click.option("--no-wait", is_flag=True, help="With new key pairs: ask for it and return.")
@data_dir_option
def rotate_keys(
    *,
    tenants: bool,
    tenant: UUID | None,
    platform: bool,
    dry_run: bool,
    stop: bool,
    no_wait: bool,
    data_dir: Path | None,
) -> None:
    """A new key-encryption key, with every private half re-wrapped; or, with --tenants, new key pairs.

    May be killed at any moment: the same command goes on where it was. Nobody who reads or writes waits for it.
    """
    from agents.keys import commands  # lazy: each command loads its own parts
    from agents.keys.rotations import Scope  # lazy: each command loads its own parts

    settings = settings_for(data_dir)
    url = _keys_url(settings)
    if stop:
        run(commands.stop(url, say))
    elif tenants or tenant or platform:
        scope = Scope(with_tenants=tenants or tenant is not None, with_platform=platform, only_tenant=tenant)
        if platform and tenant:
            raise click.UsageError("--platform and --tenant are two rotations: run one after the other")
        run(commands.rotate_pairs(url, scope, say, dry_run=dry_run, wait=not no_wait))
    else:
        run(commands.rotate_wraps(settings, url, say, dry_run=dry_run))


@keys.command("retire")
@click.argument("kek_id", metavar="ID")
@data_dir_option
def retire_key(kek_id: str, data_dir: Path | None) -> None:
    """Take the key-encryption key ID away for good; refused while any private half is under it."""
    from agents.keys.commands import retire  # lazy: each command loads its own parts

    settings = settings_for(data_dir)
    run(retire(settings, _keys_url(settings), kek_id, say))


@keys.command("rotate-data-key")
@click.option("--dry-run", is_flag=True, help="Count what there is to do, and do nothing.")
@data_dir_option
def rotate_data_key(data_dir: Path | None, dry_run: bool) -> None:  # noqa: FBT001
    """Give the API a new data key and re-encrypt seeds of second factors; run again, it takes up where it stopped."""
    from control_plane.database.logins import has_logins  # lazy: each command loads its own parts
    from control_plane.database.sessions import Database  # lazy: each command loads its own parts
    from control_plane.identity.seed_rotation import rotate  # lazy: each command loads its own parts
    from control_plane.security.datakey import DataKeyStore  # lazy: each command loads its own parts

    settings = settings_for(data_dir)

    async def work() -> int:
        # `up` is given an administrator's connection and makes the API's own from it; alone, the API is given its own.
        given = None if has_logins(settings.data_dir) else settings.database_url
        database = Database(given or _role_url(settings, "api"), pool_size=2, application_name="tradewise-keys")
        try:
            done = await rotate(database, DataKeyStore(settings), click.echo, dry_run=dry_run)
        finally:
            await database.close()
        return done.broken

    if run(work()):
        sys.exit(1)


@main.group()
def audit() -> None:
    """The audit log, which nobody may change."""


@audit.command("verify")
@click.option("--tenant", type=click.UUID, default=None, help="One tenant's chain alone.")
@data_dir_option
def verify_audit(tenant: UUID | None, data_dir: Path | None) -> None:
    """Walk the chains of all tenants and the platform's; exit 1 at the first altered or missing event of any."""
    from agents.audit import report  # lazy: each command loads its own parts

    settings = settings_for(data_dir)
    sound = run(
        report(settings.agent_database_url or _role_url(settings, "agent_scheduler"), settings, tenant, click.echo)
    )
    sys.exit(0 if sound else 1)


@main.command()
@data_dir_option
def doctor(data_dir: Path | None) -> None:
    """Look at configuration, database, policies, engine and keys; one line each, exit 1 on a fault."""
    from agents.keys.providers import ready  # lazy: each command loads its own parts
    from agents.launcher.setup import containment_report, engine_report  # lazy: each command loads its own parts
    from control_plane.doctor import examine  # lazy: each command loads its own parts

    healthy = run(examine(lambda: settings_for(data_dir), engine_report, containment_report, ready, click.echo))
    sys.exit(0 if healthy else 1)
