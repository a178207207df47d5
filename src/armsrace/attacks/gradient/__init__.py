"""Attacks that follow the gradient of the loss within a fixed budget."""
