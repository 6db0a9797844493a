"""Judgement: frozen suites, paired differences with intervals, references that see the truth, reports."""
