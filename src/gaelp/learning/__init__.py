"""Practice: how a policy improves on training worlds, with checkpoints it can resume from."""
