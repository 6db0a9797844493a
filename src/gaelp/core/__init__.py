"""Words everything above shares: errors, names, units, the clock, files and the one jit decorator."""
