"""A comparison of schedules as a value: the trials, from which the findings are computed."""

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
        schedules: the schedules by display name, in the given order; the first is the reference of every difference.
        plan: the plan of every trial: samples, batch size, epochs.
        optimizer: the optimizer of every trial.
        seeds: the seeds of every schedule, the same for all so that differences can be paired.
        outcomes: the outcomes by (schedule name, seed); an interrupted comparison lacks some.
        tuned: whether the base rate was tuned for each schedule.
        frameworks: the framework in which each schedule was trained, by the same names; torch by default.
        guessing: the accuracy of guessing, with which a failed trial counts in a ranking.
        notes: further remarks for readers, such as from the tuning of base rates.
        resolution: the smallest difference of two test accuracies, 1 / (test examples); 0 if unknown.
        race: the race from which these schedules are left, if any.
        description: a sentence for reports about the task's network and initial weights.
        data: the fingerprint of the task with its data, see `Task.fingerprint`; empty if unknown.
        beside: logs of earlier runs, shown in reports as not paired; no figure of the comparison uses these logs.

    Raises:
        ValueError: no schedule, no seed, a seed twice, an outcome of a schedule or seed that is not in the comparison, frameworks
            for different names than the schedules', or schedules that differ from the schedules left by the race.
    """

    def summary(self) -> list[rows.Row]:
        """A row for each schedule, in the given order."""
        return rows.rows(self)

    def findings(self, difference: float = 0.01, command: str = "laju compare …") -> Findings:
        """The table's rows, the ranking, the leads, the warnings and the verdict, each computed once.

        Args:
            difference: a difference in test accuracy, above 0; the standings and the verdict say how many seeds would show the
                difference.
            command: the command that would train more of the same, without its number of seeds; the verdict names the command.

        Raises:
            ValueError: a difference that is not a finite number above 0.
        """
        return findings(self, difference, command)

    def with_logs(self, *logs: str | os.PathLike[str] | Log | LoggedRun) -> Comparison:
        """The comparison with logs of earlier runs, whose figures and curves the report shows as not paired.

        The logs enter no ranking, interval or verdict.

        Args:
            logs: files, folders, or the result of `laju.logs.read` or `laju.lab.comparison.beside.logged`.

        Raises:
            OSError: a file cannot be read.
            LogError: a log without a loss, or with ambiguous columns.
            ValueError: a log is given twice.
            TypeError: a value that is not a log.
        """
        return replace(self, beside=read_beside([*self.beside, *logs]))
