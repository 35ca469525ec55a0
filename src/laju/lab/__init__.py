"""The lab: train with schedules on real data and compare them honestly.

>>> import laju
>>> from laju.lab import compare
>>> result = compare({"constant": 0.1, "cosine": laju.cosine(0.3, total=2).per("epoch")}, epochs=2, seeds=1)
>>> [row.name for row in result.summary()]
['constant', 'cosine']
"""

from laju.lab.chapter import chapter
from laju.lab.compare import Interrupted, compare
from laju.lab.comparison import Agreement, Comparison, Row
from laju.lab.forecast import stored_curves
from laju.lab.statistics import Estimate
from laju.lab.store import Kept, Store, StoreError
from laju.lab.tasks import Data, DataError, Digits, FashionMNIST, Task, get_task
from laju.lab.trial import FRAMEWORKS, Optimizer, Outcome, Record, Trial

__all__ = [
    "FRAMEWORKS",
    "Agreement",
    "Comparison",
    "Data",
    "DataError",
    "Digits",
    "Estimate",
    "FashionMNIST",
    "Interrupted",
    "Kept",
    "Optimizer",
    "Outcome",
    "Record",
    "Row",
    "Store",
    "StoreError",
    "Task",
    "Trial",
    "chapter",
    "compare",
    "get_task",
    "stored_curves",
]
