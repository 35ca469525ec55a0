"""A comparison: schedules and seeds in a grid, the race among the schedules, the ranking, and the result as a value."""

from laju.lab.comparison.comparison import Agreement, Comparison, Row

__all__ = ["Agreement", "Comparison", "Row"]
