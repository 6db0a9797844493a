"""One protocol for every door to a world, and the simulated door; a door takes approved controls only."""
