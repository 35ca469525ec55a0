"""The store: trials and their outcomes by fingerprint, in a SQLite file or in a PostgreSQL database for a team.

A trial is written with all its records in a single transaction, so a kill at any moment leaves the trial complete or absent.
Several programs may use a store at once.
"""

from laju.lab.store.claims import Claims
from laju.lab.store.locations import is_url, shown
from laju.lab.store.store import Store, StoredTrial
from laju.lab.store.tables import VERSION, StoreError, StoreWarning

__all__ = ["VERSION", "Claims", "Store", "StoreError", "StoreWarning", "StoredTrial", "is_url", "shown"]
