"""Called by Alembic with a connection that holds the write lock; the caller commits."""

from alembic import context

from gaelp.journeys.schema import metadata

if __name__ == "env_py":  # Alembic's name for it; whoever else imports it only looks
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
