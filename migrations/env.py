"""Alembic's entry: the connection always comes from control_plane.database.migrate, already acting as the owner."""

from __future__ import annotations

from alembic import context

from control_plane.database.metadata import metadata

_MADE_BY_POLICIES = ("performance_snapshots_", "audit_events_", "audit_checkpoints_", "schema_snapshot")


def is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:  # noqa: FBT001
    """Leave out of a comparison what the policies and the scheduler make: partitions and the policies' own table."""
    return not (kind == "table" and name is not None and name.startswith(_MADE_BY_POLICIES))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=False,
    render_as_batch=False,
    transaction_per_migration=False,
    include_object=is_ours,
)
with context.begin_transaction():
    context.run_migrations()
