"""Attacks that search the latent space of a generative model, or walk to what it generates."""
