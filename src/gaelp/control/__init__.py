"""What stands between a proposal and a platform: the controls, budget pacing and the safety gate."""
