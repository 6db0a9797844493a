"""What caused it: tests, also ones that may be watched, power, geo holdouts, and logged decisions."""
