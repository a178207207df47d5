"""Attacks that see only scores or decisions, never a gradient."""
