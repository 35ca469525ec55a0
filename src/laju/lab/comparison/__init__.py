"""Comparisons: schedules and seeds in a grid, the race among the schedules, the ranking, and the result as a value."""

from laju.lab.comparison.comparison import Comparison
from laju.lab.comparison.findings import Findings
from laju.lab.comparison.rows import Agreement, Row

__all__ = ["Agreement", "Comparison", "Findings", "Row"]
