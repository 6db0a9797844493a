"""The model updater: episodes as GA4-like events, models of them in versions, bids that follow segments."""
