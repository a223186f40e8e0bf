"""Second factors and sign-in by other providers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_TIME = postgresql.TIMESTAMP(timezone=True)


def _person(table: str, *, nullable: bool = False) -> tuple[sa.Column[object], sa.ForeignKeyConstraint]:
    return sa.Column("user_id", sa.Uuid(), nullable=nullable), sa.ForeignKeyConstraint(
        ["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id_users"), ondelete="CASCADE"
    )


def upgrade() -> None:
    op.create_table(
        "totp_factors",
        sa.Column("id", sa.Uuid(), nullable=False),
        *_person("totp_factors"),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("secret_format", sa.SmallInteger(), nullable=False),
        sa.Column("secret_key_id", sa.Text(), nullable=False),
        sa.Column("confirmed_at", _TIME, nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_totp_factors")),
        sa.UniqueConstraint("user_id", name="uq_totp_factors_user"),
    )
    op.create_index("ix_totp_factors_key", "totp_factors", ["secret_key_id", "id"], unique=False)
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        *_person("recovery_codes"),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("user_id", "code_hash", name="uq_recovery_codes_user_code"),
    )
    op.create_table(
        "auth_identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        *_person("auth_identities"),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("last_used_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("provider in ('telegram', 'oidc')", name=op.f("ck_auth_identities_provider_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_identities")),
        sa.UniqueConstraint("provider", "issuer", "subject", name="uq_auth_identities_subject"),
    )
    op.create_index("ix_auth_identities_user", "auth_identities", ["user_id"], unique=False)
    op.create_table(
        "spent_proofs",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_spent_proofs")),
    )
    op.create_index("ix_spent_proofs_expires", "spent_proofs", ["expires_at"], unique=False)
    op.create_table(
        "identity_providers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("authorization_endpoint", sa.Text(), nullable=False),
        sa.Column("refreshed_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_providers")),
        sa.UniqueConstraint("issuer", name=op.f("uq_identity_providers_issuer")),
    )
    _exchanges()


def _exchanges() -> None:
    op.create_table(
        "sign_in_exchanges",
        sa.Column("id", sa.Uuid(), nullable=False),
        *_person("sign_in_exchanges", nullable=True),
        sa.Column("status", sa.Text(), server_default="begun", nullable=False),
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_proof", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_code", sa.LargeBinary(), nullable=True),
        sa.Column("proof_key_version", sa.Integer(), nullable=False),
        sa.Column("proof_suite", sa.SmallInteger(), nullable=False),
        sa.Column("code_key_version", sa.Integer(), nullable=True),
        sa.Column("code_suite", sa.SmallInteger(), nullable=True),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("email_verified", sa.Boolean(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "status in ('begun', 'asked', 'working', 'done', 'failed')", name=op.f("ck_sign_in_exchanges_status_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_exchanges")),
    )
    op.create_index("ix_sign_in_exchanges_user", "sign_in_exchanges", ["user_id"], unique=False)
    op.create_index("ix_sign_in_exchanges_expires", "sign_in_exchanges", ["expires_at"], unique=False)
    op.create_index(
        "ix_sign_in_exchanges_asked",
        "sign_in_exchanges",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status = 'asked'"),
    )


def downgrade() -> None:
    op.drop_table("sign_in_exchanges")
    op.drop_table("identity_providers")
    op.drop_table("spent_proofs")
    op.drop_table("auth_identities")
    op.drop_table("recovery_codes")
    op.drop_table("totp_factors")
