"""Calibration by simulation: a market file fitted to what an advertiser can export.

`parameters` says what is fitted, `simulating` lives worlds of the prior and sums them up, `inference` learns
what figures say of parameters, `checking` compares the fitted market with the data, `fitting` does all of
it, `writing` makes the market file. The report is `evaluation.calibration_page`.
"""
