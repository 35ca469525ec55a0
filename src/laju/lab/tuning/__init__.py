"""Tuning: a search for the arguments of a policy, its storage, and its result as a value."""
