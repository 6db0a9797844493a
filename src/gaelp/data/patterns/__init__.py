"""Patterns: journeys that ended, as vectors of named features, and those that look most like a given one."""
