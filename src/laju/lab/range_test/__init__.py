"""The range test: train while the learning rate rises from very low to very high, and read off which rates to try.

- `run`: the test, on your own torch loop (`range_test`) or on a task of the lab (`find`).
- `rates`: the rates of a sweep, as a value.
- `state`: restoring all state from before the test, bit by bit.
- `curve`: smoothing, and the rules that read a rate off a curve.
- `result`: the sweeps and suggestions, with intervals over seeds; `picture` draws both.
"""

from laju.lab.range_test.curve import RULES, Suggestion
from laju.lab.range_test.rates import RateRange
from laju.lab.range_test.result import RangeTest, Sweep
from laju.lab.range_test.run import find, range_test

__all__ = ["RULES", "RangeTest", "RateRange", "Suggestion", "Sweep", "find", "range_test"]
