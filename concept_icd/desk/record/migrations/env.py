"""Alembic's entry: runs the migrations over the connection that `store` holds."""

from alembic import context

from concept_icd.desk.record.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
