"""Judgement: policies on the same worlds, paired differences with intervals, reports, speed."""
