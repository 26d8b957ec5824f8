"""The table of events, which can be added to and read, and nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the table, and the triggers that refuse to change or delete an event."""
    op.create_table(
        "events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("review", sa.String(64), nullable=False),
        sa.Column("note_id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("code", sa.String(32), nullable=True),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.String(24), nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.UniqueConstraint("review", "version", name="one_event_a_version"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_of_a_review", "events", ["review", "number"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER no_{verb.lower()} BEFORE {verb} ON events "
                "BEGIN SELECT RAISE(ABORT, 'the record is only ever added to'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION concept_icd_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the record is only ever added to'; END $$"
    )
    op.execute(
        "CREATE TRIGGER no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION concept_icd_refuse()"
    )
