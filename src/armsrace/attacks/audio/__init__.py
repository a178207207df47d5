"""Attacks on speech recognition: what an ear does not hear, and what survives a room."""
