"""One protocol, many doors to a world; every door accepts approved controls only."""
