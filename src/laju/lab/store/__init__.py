"""The store: trials and their outcomes by fingerprint, in one SQLite file or in a PostgreSQL database for a team.

A trial is written with all its records in a single transaction, so that a kill at any moment leaves it whole or absent. Several
programs may use one store at once.
"""

from laju.lab.store.claims import Claims
from laju.lab.store.locations import is_url, shown
from laju.lab.store.store import Kept, Store
from laju.lab.store.tables import VERSION, StoreError, StoreWarning

__all__ = ["VERSION", "Claims", "Kept", "Store", "StoreError", "StoreWarning", "is_url", "shown"]
