"""The HTTP service: it reads and relays, never decides."""
