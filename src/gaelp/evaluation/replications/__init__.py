"""Famous findings of advertising research, looked for in the simulated market, with what differs."""
