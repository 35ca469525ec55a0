"""Tuning: a search for the arguments of a schedule, its storage, and its result as a value."""
