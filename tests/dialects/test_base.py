"""Systems by name, and calls that are read from text and never run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import laju.dialects
from laju.dialects import SYSTEMS, DialectError, NotASchedule, read, system
from laju.dialects.base import _OTHER_NAMES
from laju.dialects.torch import CosineAnnealingLR, StepLR

FOLDER = Path(laju.dialects.__file__).parent


def test_every_module_with_a_system_is_listed_once() -> None:
    has = [
        path.stem
        for path in FOLDER.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SYSTEM"
    ]
    assert sorted(has) == sorted(SYSTEMS)
    assert set(_OTHER_NAMES.values()) <= set(SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_names_its_schedulers_as_they_are(name: str) -> None:
    found = system(name)
    assert found.name == name
    assert found.releases
    for own, function in found.schedulers.items():
        assert function.__name__ == own
        assert function.__doc__
    assert set(found.aliases.values()) <= {*found.schedulers, *found.refused}
    assert not set(found.aliases) & set(found.schedulers)


@pytest.mark.parametrize("name", ["PyTorch", " torch ", "torch.optim"])
def test_other_names_of_a_system(name: str) -> None:
    assert system(name).name == "torch"


@pytest.mark.parametrize("name", ["tourch", "", None, 3])
def test_an_unknown_system_is_refused_with_those_that_are_known(name: object) -> None:
    with pytest.raises(DialectError, match=r"not a system that laju knows.*torch, transformers"):
        system(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "StepLR(step_size=10, gamma=0.5)",
        "torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5)",
        "lr_scheduler.StepLR(self.optimizer, step_size=2 * 5, gamma=1 / 2)",
        "StepLR(optimizer=opt, step_size=20 // 2, gamma=2**-1)",
    ],
)
def test_a_call_is_read(text: str) -> None:
    assert read("torch", text, lr=0.1) == StepLR(0.1, 10, 0.5).normal


def test_a_rate_that_is_said_counts_more_than_one_that_is_given() -> None:
    assert read("torch", "CosineAnnealingLR(lr=0.2, T_max=10)", lr=0.1) == CosineAnnealingLR(0.2, T_max=10).normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CosineAnealingLR(T_max=10)", "did you mean 'CosineAnnealingLR'"),
        ("CosineAnnealingLR(T_mx=10)", "has no argument 'T_mx'; did you mean 'T_max'"),
        ("CosineAnnealingLR(", "is not a call"),
        ("CosineAnnealingLR", "neither a number"),
        ("StepLR()", "missing a required argument: 'step_size'"),
        ("StepLR(step_size=1 // 0)", "cannot be computed"),
        ("StepLR(step_size=n)", "'n' is neither a number"),
        ("StepLR(step_size=open('x').read())", "neither a number|not a scheduler"),
        ("__import__('os').getcwd()", "not a scheduler"),
        ("LambdaLR(lr_lambda=lambda t: 1 / t)", "a lambda is not executed"),
        ("[1, 2]", "is not a call of a scheduler"),
        ("StepLR(step_size=[0] * 10**9)", "neither a number|must be"),
    ],
)
def test_what_is_no_call_of_a_scheduler_is_refused_and_not_run(text: str, message: str) -> None:
    with pytest.raises(DialectError, match=message):
        read("torch", text, lr=0.1)


def test_what_is_no_schedule_is_refused_with_the_reason() -> None:
    with pytest.raises(NotASchedule, match="ReduceLROnPlateau is not a schedule: "):
        read("torch", "ReduceLROnPlateau(patience=3)", lr=0.1)


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("torch", "StepLR(10, gamma=(-1) ** 0.5)"),
        ("torch", "StepLR({[1]: 2})"),
        ("torch", "StepLR(step_size='x')"),
        ("torch", "MultiStepLR(milestones=3)"),
        ("optax", "join_schedules(schedules=0.9, boundaries=[3])"),
    ],
)
def test_arguments_of_the_wrong_kind_are_an_error_of_the_dialect(system: str, text: str) -> None:
    with pytest.raises(DialectError):
        read(system, text, **({"lr": 0.1} if system == "torch" else {}))
