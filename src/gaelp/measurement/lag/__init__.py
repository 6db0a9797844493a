"""How long conversions take, seen through censoring: curves, fits, and what is still to come."""
