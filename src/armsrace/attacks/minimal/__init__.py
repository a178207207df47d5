"""Attacks that search for the smallest adversarial perturbation in L2 or L∞."""
