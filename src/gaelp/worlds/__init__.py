"""Many markets at once: creation, warm-up, snapshots, twins and run folders."""
