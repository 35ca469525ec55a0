"""The lab: train with schedules on real data and compare the schedules honestly.

>>> import laju
>>> from laju.lab import compare
>>> result = compare({"constant": 0.1, "cosine": laju.cosine(0.3, total=2).per("epoch")}, epochs=2, seeds=1)
>>> [row.name for row in result.summary()]
['constant', 'cosine']
"""

from laju.core.extras import needed_by

with needed_by("laju.lab", "lab"):
    # Asked for before any file of the lab is loaded: files that stay loaded would give a second import another error.
    import sqlalchemy as _sqlalchemy  # noqa: F401

    from laju.lab.comparison import Agreement, Comparison, Findings, Row
    from laju.lab.comparison.arguments import Averaged
    from laju.lab.comparison.compare import Interrupted, Unfinished, compare, run_trials
    from laju.lab.comparison.grid import Grid, Selection
    from laju.lab.comparison.race import Dropped, Race
    from laju.lab.comparison.ranking import Lead, Standing
    from laju.lab.engines.branching import branch
    from laju.lab.programs.protocol import Checkpoint
    from laju.lab.programs.task import Program, ProgramError
    from laju.lab.programs.trial import ProgramTrial, trial
    from laju.lab.range_test import RangeTest, RateRange, Suggestion, Sweep, find, range_test
    from laju.lab.statistics import Estimate, seeds_needed
    from laju.lab.store import Store, StoredTrial, StoreError
    from laju.lab.store.curves import stored_curves
    from laju.lab.trials import FRAMEWORKS, Optimizer, Outcome, Record, Trial
    from laju.lab.trials.numerics import Numerics
    from laju.lab.trials.tasks import (
        Accelerated,
        Data,
        DataError,
        Digits,
        FashionMNIST,
        HeldOut,
        ImageFolder,
        Task,
        get_task,
    )
    from laju.lab.tuning.result import Evaluation, SearchResult
    from laju.lab.tuning.search import Search
    from laju.lab.tuning.search_space import Space, SpaceError
    from laju.lab.tuning.storage import StorageError
    from laju.lab.tuning.tune import SearchInterrupted, tune
    from laju.lab.workers import Execution, TrialsLost

__all__ = [
    "FRAMEWORKS",
    "Accelerated",
    "Agreement",
    "Averaged",
    "Checkpoint",
    "Comparison",
    "Data",
    "DataError",
    "Digits",
    "Dropped",
    "Estimate",
    "Evaluation",
    "Execution",
    "FashionMNIST",
    "Findings",
    "Grid",
    "HeldOut",
    "ImageFolder",
    "Interrupted",
    "Lead",
    "Numerics",
    "Optimizer",
    "Outcome",
    "Program",
    "ProgramError",
    "ProgramTrial",
    "Race",
    "RangeTest",
    "RateRange",
    "Record",
    "Row",
    "Search",
    "SearchInterrupted",
    "SearchResult",
    "Selection",
    "Space",
    "SpaceError",
    "Standing",
    "StorageError",
    "Store",
    "StoreError",
    "StoredTrial",
    "Suggestion",
    "Sweep",
    "Task",
    "Trial",
    "TrialsLost",
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
