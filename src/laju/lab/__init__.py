"""The lab: train with schedules on real data and compare them honestly.

>>> import laju
>>> from laju.lab import compare
>>> result = compare({"constant": 0.1, "cosine": laju.cosine(0.3, total=2).per("epoch")}, epochs=2, seeds=1)
>>> [row.name for row in result.summary()]
['constant', 'cosine']
"""

from laju.core.extras import needed_by

with needed_by("laju.lab", "lab"):
    from laju.lab.branching import branch
    from laju.lab.compare import Interrupted, Unfinished, compare, run_trials
    from laju.lab.comparison import Agreement, Comparison, Row
    from laju.lab.forecast import stored_curves
    from laju.lab.numerics import Numerics
    from laju.lab.program import Checkpoint, ProgramTrial, trial
    from laju.lab.race import Dropped, Race
    from laju.lab.range_test import RangeTest, Suggestion, Sweep, find, range_test
    from laju.lab.ranking import Lead, Standing
    from laju.lab.running import TrialsLost
    from laju.lab.search_storage import StorageError
    from laju.lab.space import Space, SpaceError
    from laju.lab.statistics import Estimate, seeds_needed
    from laju.lab.store import Kept, Store, StoreError
    from laju.lab.tasks import (
        Accelerated,
        Data,
        DataError,
        Digits,
        FashionMNIST,
        HeldOut,
        ImageFolder,
        Program,
        ProgramError,
        Task,
        get_task,
    )
    from laju.lab.trials import FRAMEWORKS, Optimizer, Outcome, Record, Trial
    from laju.lab.tune import SearchInterrupted, tune
    from laju.lab.tuned import Tried, Tuned

__all__ = [
    "FRAMEWORKS",
    "Accelerated",
    "Agreement",
    "Checkpoint",
    "Comparison",
    "Data",
    "DataError",
    "Digits",
    "Dropped",
    "Estimate",
    "FashionMNIST",
    "HeldOut",
    "ImageFolder",
    "Interrupted",
    "Kept",
    "Lead",
    "Numerics",
    "Optimizer",
    "Outcome",
    "Program",
    "ProgramError",
    "ProgramTrial",
    "Race",
    "RangeTest",
    "Record",
    "Row",
    "SearchInterrupted",
    "Space",
    "SpaceError",
    "Standing",
    "StorageError",
    "Store",
    "StoreError",
    "Suggestion",
    "Sweep",
    "Task",
    "Trial",
    "TrialsLost",
    "Tried",
    "Tuned",
    "Unfinished",
    "branch",
    "compare",
    "find",
    "get_task",
    "range_test",
    "run_trials",
    "seeds_needed",
    "stored_curves",
    "trial",
    "tune",
]
