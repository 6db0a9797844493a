"""What stands between a proposal and a platform: pacing, bid shading, rotation and the safety gate."""
