"""Trials with other numerics than the default run as stacks, are stored one by one, and are known as other trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from laju.lab import Execution, Numerics, Optimizer, Store, Trial, compare
from laju.lab.engines import train
from laju.lab.workers.prefixes import plan, updates
from laju.policies import constant
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Sides

BF16 = Numerics("cpu", "bf16")


class Lines(Sides):
    """Without dropout, whose numbers a stack draws as a whole."""

    def model(self, seed: int) -> object:
        import torch

        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


@pytest.mark.parametrize(("jobs", "stack"), [(1, None), (1, 2), (2, 3)])
def test_a_comparison_in_stacks_has_what_each_trial_alone_gives(tmp_path: Path, jobs: int, stack: int | None) -> None:
    schedules = {"a": 0.1, "b": 0.3, "wild": 1e38}
    options = {"epochs": 2, "seeds": 2, "store": tmp_path / "a.sqlite"}
    options |= {"execution": Execution(jobs=jobs, precision="bf16", stack=stack)}
    found = compare(schedules, Lines(), **options)
    assert any("bf16" in note for note in found.notes)
    for (name, seed), outcome in found.outcomes.items():
        alone = train(Trial(Lines(), found.schedules[name], seed, 2, 64, numerics=BF16))
        assert outcome.status == alone.status
        assert [r.rate for r in outcome.records] == [r.rate for r in alone.records]
        assert [r.train_loss for r in outcome.records] == pytest.approx([r.train_loss for r in alone.records], rel=2e-2)
    watcher = Watcher()
    again = compare(schedules, Lines(), display=watcher, **options)
    assert again.outcomes == found.outcomes
    assert watcher.told[0][:3] == ("start", 6, 6)
    with Store(tmp_path / "a.sqlite") as store:
        default = Trial(Lines(), constant(0.1), 0, 2, 64)
        assert store.get_many([default]) == {}


def test_only_trials_that_are_alike_are_one_job() -> None:
    def trial(seed: int, **changes: object) -> Trial:
        return Trial(**{"task": Sides(), "schedule": constant(0.1), "seed": seed, "epochs": 2, "batch_size": 40,
                        "numerics": BF16, **changes})  # fmt: skip

    work = {
        ("a", 0): trial(0),
        ("b", 1): trial(1, optimizer=Optimizer(momentum=0.9)),
        ("c", 0): trial(0, epochs=3),
        ("d", 0): trial(0, optimizer=Optimizer(kind="adam")),
        ("e", 0): trial(0, numerics=Numerics()),
        ("f", 2): trial(2),
    }
    roots = plan(work)
    assert {root.keys for root in roots} == {(("a", 0), ("b", 1), ("f", 2)), (("c", 0),), (("d", 0),), (("e", 0),)}
    assert updates(roots) == 3 * 20 + 30 + 20 + 20
    assert {root.keys for root in plan(work, stack=2)} >= {(("a", 0), ("b", 1)), (("f", 2),)}


def test_a_device_that_is_not_there_is_refused_before_anything_is_trained() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="device 'cuda' needs a GPU"):
        compare({"a": 0.1}, Sides(), epochs=1, seeds=1, execution=Execution(device="cuda"))
    with pytest.raises(ValueError, match="device must be one of cpu, cuda, got 'gpu'"):
        Execution(device="gpu")  # type: ignore[arg-type]
