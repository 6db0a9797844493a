"""Called by Alembic with a connection that holds the write lock; the caller commits."""

from alembic import context

from gaelp.prediction.schema import metadata

VERSION_TABLE = "alembic_version_prediction"  # journeys, in the same database, count their own

if __name__ == "env_py":  # Alembic's name for it; whoever else imports it only looks
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        version_table=VERSION_TABLE,
    )
    context.run_migrations()
