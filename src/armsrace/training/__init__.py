"""Recipes, one per network of the zoo, and the one loop that runs them all."""
