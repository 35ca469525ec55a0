"""Engines: each runs trials in one framework and returns what came out."""
