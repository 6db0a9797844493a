"""Competitive intelligence: what rivals bid and win, as far as an account's own reports tell."""
