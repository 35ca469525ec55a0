"""Limits on what laju builds and reads, each by its name: a reader's work is bounded by the size of what it reads.

A text, a JSON object or a configuration may come from a stranger, and a schedule may be made by a loop that went wrong. Past a
limit there is one error that names it, before memory or time is spent.
"""

from __future__ import annotations

DEPTH = 100
"""Schedules inside one another. Python's own recursion ends at 1,000 calls, and printing or resolving takes a few a level."""

TEXT = 300_000
"""Characters of a schedule's text."""

LENGTH_TEXT = 200
"""Characters of a length such as "5 epochs"."""

ITEMS = 1_000_000
"""Entries of a table, and parts of a chain, a sum or another combination."""

POSITION = 2**63 - 1
"""The last update that an array of positions can name."""

BITS = 4096
"""Binary digits of a whole number in a text, and of what arithmetic in a text makes of such numbers."""
