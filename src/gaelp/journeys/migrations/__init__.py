"""Steps from an empty database to the tables of `gaelp.journeys.schema`; `Database` walks them on opening."""
