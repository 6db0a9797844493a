"""Steps from no table to those of `gaelp.data.patterns.schema`; `PatternStore` walks them on opening."""
