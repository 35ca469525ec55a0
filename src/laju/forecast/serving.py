"""The process beside a training run that computes forecasts: requests on standard input, results on standard output.

Requests and results are pickles. The end of standard input ends the process, so that no process outlives its run for long.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
import warnings
from contextlib import suppress

from laju.forecast.ending import Ending, ending
from laju.forecast.prior import Prior


def main() -> None:
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a print must not stand between two answers
    with suppress(AttributeError, OSError):  # Windows has none
        os.nice(10)
    warnings.simplefilter("ignore")
    priors: dict[bytes, Prior] = {}  # a prior keeps its judgements, which take longer than an answer
    while True:
        try:
            updates, losses, rates, at, level, prior = pickle.load(questions)
        except EOFError:
            return
        began = time.process_time()
        answer: Ending | str
        try:
            if isinstance(prior, bytes):
                if prior not in priors:
                    priors = {prior: pickle.loads(prior)}
                prior = priors[prior]
            answer = ending(updates, losses, rates, at, level, prior)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        try:
            pickle.dump((answer, time.process_time() - began), answers)
            answers.flush()
        except OSError:  # the training is gone
            os._exit(0)


if __name__ == "__main__":
    main()
