"""Steps from no table to those of `gaelp.prediction.schema`; `AccuracyTracker` walks them on opening."""
