"""A comparison of schedules as a value: the trials, and the way to their findings."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from laju.lab.comparison import rows
from laju.lab.comparison.beside import LoggedRun, read_beside
from laju.lab.comparison.findings import Findings, findings
from laju.lab.comparison.results import Results
from laju.logs import Log


@dataclass(frozen=True)
class Comparison(Results):
    """Schedules trained on a task with the same seeds, and the outcome of each trial.

    Args:
        task: the task's name.
        schedules: by display name, in the order asked; the first is the reference of every difference.
        plan: the run that each trial is: samples, batch size, epochs.
        optimizer: the optimizer of every trial.
        seeds: of every schedule, so that differences can be paired.
        outcomes: by (schedule name, seed); an interrupted comparison lacks some.
        tuned: whether the base rate was tuned for each schedule.
        frameworks: in which framework each of the schedules was trained, by the same names; torch by default.
        guessing: the accuracy of guessing, which a trial that failed counts as in a ranking.
        notes: further remarks for readers, such as from the tuning of base rates.
        resolution: the smallest difference of two test accuracies, 1 / (test examples); 0 where unknown.
        race: the race that left these schedules of a larger number, if any.
        description: of the task's network and initial weights, a sentence for reports.
        data: the fingerprint of the task with its data, see `Task.fingerprint`; empty where unknown.
        beside: logs of earlier runs, shown in reports as not paired; no figure of the comparison uses these logs.

    Raises:
        ValueError: no schedule, no seed, a seed twice, an outcome of a schedule or seed that was not asked for, frameworks of
            names that differ from the schedules', or schedules that differ from those left by the race.
    """

    def summary(self) -> list[rows.Row]:
        """A row for each schedule, in the order asked."""
        return rows.rows(self)

    def findings(self, difference: float = 0.01, command: str = "laju compare …") -> Findings:
        """The table's rows, the ranking, the leads, the warnings and the verdict, each computed once.

        Args:
            difference: in test accuracy, above 0; the standings and the verdict say how many seeds would show the difference.
            command: that would train more of the same, without its number of seeds; the verdict names the command.

        Raises:
            ValueError: a difference that is not a finite number above 0.
        """
        return findings(self, difference, command)

    def with_logs(self, *logs: str | os.PathLike[str] | Log | LoggedRun) -> Comparison:
        """The comparison with logs of earlier runs, whose figures and curves the report shows as not paired.

        No ranking, interval or verdict has the logs.

        Args:
            logs: files, folders, or the result of `laju.logs.read` or `laju.lab.comparison.beside.logged`.

        Raises:
            OSError: a file cannot be read.
            LogError: a log without a loss, or with columns that cannot be told.
            ValueError: a log twice.
            TypeError: another value.
        """
        return replace(self, beside=read_beside([*self.beside, *logs]))
