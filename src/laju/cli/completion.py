"""Shell completion: policies, the chapter's schedules, systems, tasks, studies, tabs and codes of findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completing(names: Callable[[], Iterable[str]], files: bool = False) -> Complete:
    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        except ImportError:  # a message would appear in the middle of the line being typed
            found = []
        return [*found, CompletionItem(incomplete, type="file")] if files and not found else found

    return complete


def _policies() -> list[str]:
    import laju.policies as policies

    return sorted(policies.__all__)


def _schedules() -> list[str]:
    from laju.studies.chapter import schedules

    six = [f"chapter:{name.replace(' ', '-')}" for name in schedules()]
    return [*(f"{name}(" for name in _policies()), "chapter", *six]


def _systems() -> list[str]:
    from laju.dialects.base import systems

    return ["laju", *systems()]


def _tasks() -> Iterable[str]:
    from laju.lab.trials.tasks import task_names

    return task_names()


def _studies() -> Iterable[str]:
    from laju.studies import STUDIES

    return STUDIES


def _tabs() -> Iterable[str]:
    from laju.studies.chapter.tabs import TABS

    return TABS


def _codes() -> Iterable[str]:
    from laju.inspect.lint import CODES

    return CODES


policies = _completing(_policies)
schedules = _completing(_schedules)
schedules_or_logs = _completing(_schedules, files=True)
sources = _completing(lambda: [*_systems(), "config"])
targets = _completing(lambda: [*_systems(), "yaml"])
tasks = _completing(_tasks)
studies = _completing(_studies)
tabs = _completing(_tabs)
codes = _completing(_codes)
