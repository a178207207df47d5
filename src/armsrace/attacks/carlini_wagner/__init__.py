"""The attacks of Carlini and Wagner 2017: L2, L0, L∞, and what they share."""
