"""Measured runs of one's own system: read what load generators write, and learn from it."""
