"""Response models: how likely a click or a conversion is, how well that is known, and models kept for use."""
