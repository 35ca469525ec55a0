"""compare: every schedule and seed is trained once, whatever interrupts it, and bad arguments are found before training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import laju
from laju import cosine
from laju.frameworks.torch import trace
from laju.lab import Comparison, Execution, Grid, Interrupted, Optimizer, Outcome, Store, Trial, compare
from laju.lab.comparison.compare import Unfinished
from laju.lab.report import write_report
from laju.lab.store import StoreError
from laju.lab.trials.progress import Running
from tests.lab.tiny import Deadly, Fetched, Forbidden, Sides, Stuck

ROOT = Path(__file__).parents[2]
SCHEDULES = {"a": 0.1, "b": "cosine(0.3, total=2).per('epoch')", "c": cosine(0.3, total=20, warmup=5)}


def results(comparison: Comparison) -> dict:
    """Everything but how long it took."""
    return {key: replace(outcome, seconds=0) for key, outcome in comparison.outcomes.items()}


def alive(marker: str) -> list[int]:
    """Processes whose environment holds a text; of systems with /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                marker.encode() in (folder / "environ").read_bytes()
                and "Z" not in (folder / "stat").read_text().split()[2]
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class Watcher:
    """A display that writes down what it is told, and can press Ctrl-C after so many finished trials."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.told: list[tuple] = []
        self.seen: list[Running] = []
        self.plans: list[tuple[int, int]] = []
        self.left = interrupt_after

    def start(self, total: int, kept: int, jobs: int) -> None:
        self.told.append(("start", total, kept, jobs))

    def running(self, trials: list[Running]) -> None:
        self.seen += trials

    def planned(self, updates: int, separately: int) -> None:
        self.plans.append((updates, separately))

    def finished(self, name: str, seed: int, outcome: Outcome) -> None:
        self.told.append((name, seed, outcome.status))
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    def stop(self) -> None:
        self.told.append(("stop",))


@pytest.fixture(scope="module")
def plain() -> Comparison:
    return compare(SCHEDULES, Sides(), epochs=2, seeds=[4, 1], jobs=1)


def test_schedules_may_be_values_texts_or_numbers_and_the_results_suit_pandas(plain: Comparison) -> None:
    assert plain.schedules == {"a": laju.constant(0.1), "b": laju.parse(SCHEDULES["b"]), "c": SCHEDULES["c"]}
    assert set(plain.outcomes) == {(name, seed) for name in "abc" for seed in (4, 1)}
    frame = pd.DataFrame(plain.trials())
    assert frame.groupby("schedule").test_accuracy.mean().between(0.3, 1).all()
    assert len(pd.DataFrame(plain.records())) == 6 * 2


def test_one_job_and_several_give_the_same_results(plain: Comparison) -> None:
    assert results(compare(SCHEDULES, Sides(), epochs=2, seeds=[4, 1], jobs=2)) == results(plain)


def test_what_is_in_the_store_is_not_trained_again(plain: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    some = {name: SCHEDULES[name] for name in "ab"}
    first = compare(some, Sides(), epochs=2, seeds=[4], jobs=1, store=path)
    watcher = Watcher()
    both = compare(SCHEDULES, Sides(), epochs=2, seeds=[4, 1], jobs=1, store=path, display=watcher)
    assert results(both) == results(plain)
    assert both.outcomes["a", 4] == first.outcomes["a", 4]  # with its seconds
    assert watcher.told[0] == ("start", 6, 2, 1)
    assert {told[:2] for told in watcher.told[1:-1]} == {("c", 4), ("a", 1), ("b", 1), ("c", 1)}
    assert watcher.told[-1] == ("stop",)
    for jobs in (1, 2):
        assert compare(SCHEDULES, Forbidden(), epochs=2, seeds=[4, 1], jobs=jobs, store=path).outcomes == both.outcomes
    with pytest.raises(AssertionError, match="trained again"):
        compare(SCHEDULES, Forbidden(), epochs=3, seeds=[4, 1], jobs=1, store=path)


def test_a_store_that_is_given_open_stays_open(plain: Comparison) -> None:
    with Store() as store:
        compare({"a": 0.1}, Sides(), epochs=2, seeds=1, jobs=1, store=store)
        assert store.get(Trial(Sides(), laju.constant(0.1), 0, 2, 64)) is not None
        again = compare({"other name": 0.1}, Forbidden(), epochs=2, seeds=1, jobs=1, store=store)
        assert list(again.outcomes) == [("other name", 0)]


def test_two_names_of_one_schedule_share_a_trial(tmp_path: Path) -> None:
    watcher = Watcher()
    found = compare({"a": 0.1, "same": "constant(0.1)"}, Sides(), epochs=1, seeds=2, jobs=1, display=watcher)
    assert found.outcomes["a", 1] == found.outcomes["same", 1]  # with its seconds
    assert [told[:2] for told in watcher.told[1:-1]] == [("a", 0), ("same", 0), ("a", 1), ("same", 1)]


def test_the_display_sees_every_trial_while_it_runs(tmp_path: Path) -> None:
    class Slow(Sides):
        def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            time.sleep(0.002)
            return super().correct(outputs, targets)

    watcher = Watcher()
    compare({"a": 0.1, "b": 0.2}, Slow(), epochs=3, batch_size=2, seeds=1, jobs=1, display=watcher)
    assert {(r.name, r.seed, r.updates) for r in watcher.seen} == {("a", 0, 600), ("b", 0, 600)}
    assert all(0 < r.record.update <= 600 for r in watcher.seen)


def test_a_trial_that_diverges_or_collapses_does_not_stop_the_others() -> None:
    found = compare({"wild": 1e30, "zero": 0, "good": 0.3}, epochs=3, seeds=1, jobs=2)
    assert {name: outcome.status for (name, _), outcome in found.outcomes.items()} == {
        "wild": "diverged",
        "zero": "collapsed",
        "good": "finished",
    }


@pytest.mark.slow
def test_a_task_of_a_script_runs_in_several_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np, torch
            from laju.lab import Data, Task, compare

            def points():
                return np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)

            class Mine(Task):
                name = "mine"

                def __init__(self):
                    self.points = points()

                def load(self):
                    sides = (self.points.sum(axis=1) > 0).astype(np.int64)
                    return Data(self.points[:200], sides[:200], self.points[200:], sides[200:], classes=2)

                def model(self, seed):
                    torch.manual_seed(seed)
                    return torch.nn.Linear(2, 2)

            one, two = (compare({"a": 0.1, "b": 0.5}, Mine(), epochs=20, seeds=2, jobs=jobs) for jobs in (1, 2))
            assert [o.records for o in one.outcomes.values()] == [two.outcomes[key].records for key in one.outcomes]
            print(len(two.outcomes), {t["status"] for t in two.trials()})
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["4", "{'finished'}"], "", 0)


def test_a_task_that_cannot_travel_says_so_and_runs_in_one_process() -> None:
    task = Sides()
    object.__setattr__(task, "lock", threading.Lock())
    with pytest.raises(TypeError, match="jobs=1"):
        compare({"a": 0.1, "b": 0.2}, task, epochs=1, seeds=1, jobs=2)
    assert len(compare({"a": 0.1, "b": 0.2}, task, epochs=1, seeds=1, jobs=1).outcomes) == 2


class Wrong(Sides):
    def model(self, seed: int) -> torch.nn.Module:
        if seed == 1:
            raise RuntimeError("a mistake in the model")
        return super().model(seed)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_mistake_in_a_task_is_raised_as_it_is_and_keeps_what_is_finished(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "a.sqlite"
    with pytest.raises(RuntimeError, match="a mistake in the model"):
        compare({"a": 0.1}, Wrong(), epochs=1, seeds=[0, 1], jobs=1, store=path)
    with Store(path) as store:
        assert len(store) == 1
    with pytest.raises(RuntimeError, match="a mistake in the model"):
        compare({"a": 0.1, "b": 0.2}, Wrong(), epochs=1, seeds=[1], jobs=jobs)


# --- interruptions -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_raises_with_what_is_finished_and_the_rest_runs_later(
    plain: Comparison, tmp_path: Path, jobs: int
) -> None:
    arguments = {"epochs": 2, "seeds": [4, 1], "jobs": jobs, "store": tmp_path / "a.sqlite"}
    watcher = Watcher(interrupt_after=2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        compare(SCHEDULES, Sides(), display=watcher, **arguments)
    assert isinstance(stopped.value, Interrupted)
    kept = stopped.value.comparison
    assert len(kept.outcomes) == 2
    assert watcher.told[-1] == ("stop",)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with Store(tmp_path / "a.sqlite") as store:
        assert len(store) == 2
    rest = Watcher()
    both = compare(SCHEDULES, Sides(), display=rest, **arguments)
    assert rest.told[0][:3] == ("start", 6, 2)
    assert results(both) == results(plain)
    assert {key: both.outcomes[key] for key in kept.outcomes} == kept.outcomes


def test_ctrl_c_stops_a_trial_that_is_running(tmp_path: Path) -> None:
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Interrupted) as stopped:
        compare({"a": 0.1}, Sides(), epochs=10**6, seeds=1, jobs=1)
    assert not stopped.value.comparison.outcomes


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_trial_whose_worker_is_killed_runs_again(tmp_path: Path, plain: Comparison) -> None:
    arguments = {"epochs": 2, "seeds": [4, 1], "jobs": 2, "store": tmp_path / "a.sqlite"}
    task = Deadly(seed=1, mark=tmp_path / "mark")
    assert results(compare(SCHEDULES, task, **arguments)) == results(plain)
    assert task.mark.exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_trial_that_kills_every_worker_is_left_out_and_the_others_are_kept(tmp_path: Path, plain: Comparison) -> None:
    arguments = {"epochs": 2, "seeds": [4, 1], "jobs": 2, "store": tmp_path / "a.sqlite"}
    deaths, only = tmp_path / "deaths", {"a": SCHEDULES["a"]}
    with pytest.raises(Unfinished, match=r"with seed 1.*fewer --jobs.*3 times") as unfinished:
        compare(only, Deadly(seed=1, mark=deaths, always=True), **arguments)
    kept = unfinished.value.comparison
    assert set(kept.outcomes) == {("a", 4)}
    assert set(unfinished.value.reasons) == {("a", 1)}
    assert results(kept).items() <= results(plain).items()
    with Store(tmp_path / "a.sqlite") as store:
        assert len(store) == 1
    assert results(compare(only, Sides(), **arguments)).items() <= results(plain).items()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_trial_whose_data_loader_is_killed_runs_again(tmp_path: Path, plain: Comparison, jobs: int) -> None:
    task = Fetched(mark=tmp_path / "mark")
    assert results(compare(SCHEDULES, task, epochs=2, seeds=[4, 1], jobs=jobs)) == results(plain)
    assert task.mark.exists()


@pytest.mark.slow
def test_a_trial_that_hangs_is_given_up_and_the_others_are_kept(tmp_path: Path, plain: Comparison) -> None:
    arguments = {"epochs": 2, "seeds": [4, 1], "store": tmp_path / "a.sqlite"}
    only = {"a": SCHEDULES["a"], "b": 0.3}
    # Both trials of the seed hang at once: the one that is stopped first takes its neighbour along, which runs again.
    with pytest.raises(Unfinished, match=r"seed 1.*seed 1.*longer than the time limit of 30 seconds") as unfinished:
        compare(only, Stuck(seed=1), execution=Execution(jobs=2, time_limit=30), **arguments)
    kept = unfinished.value.comparison
    assert set(kept.outcomes) == {("a", 4), ("b", 4)}
    first = {"a": SCHEDULES["a"]}
    assert results(compare(first, Sides(), jobs=1, **arguments)).items() <= results(plain).items()


@pytest.mark.parametrize("limit", [0, -1, float("inf"), "10", True])
def test_a_time_limit_without_sense_is_refused(limit: object) -> None:
    with pytest.raises((TypeError, ValueError), match="time_limit must be a finite number above 0"):
        Execution(time_limit=limit)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    marker = f"LAJU_TEST={tmp_path}"
    program = (
        "from laju.lab import compare; from tests.lab.tiny import Sides\n"
        "class Display:\n"
        "    def start(*_): pass\n"
        "    def running(self, trials):\n"
        "        if len(trials) == 2: print(flush=True)\n"
        "    finished = stop = planned = start\n"
        "compare({'a': 0.1, 'b': 0.2}, Sides(), epochs=10**6, seeds=1, jobs=2, display=Display())\n"
    )
    environment = os.environ | {"LAJU_TEST": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert len(alive(marker)) >= 3
    process.kill()
    process.wait()
    end = time.monotonic() + 120
    while alive(marker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(marker)


# --- bad arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"schedules": {}}, ValueError, "at least one schedule"),
        ({"schedules": [0.1]}, ValueError, "by name"),
        ({"schedules": {" ": 0.1}}, ValueError, "names"),
        ({"schedules": {1: 0.1}}, ValueError, "names"),
        ({"schedules": {"x": "cosin(0.3, total=3)"}}, ValueError, "(?s)'x'.*did you mean 'cosine'"),
        ({"schedules": {"x": None}}, TypeError, "'x'.*schedule, its text, a number, rates or a function, got None"),
        ({"schedules": {"x": True}}, TypeError, "got True"),
        ({"schedules": {"x": float("nan")}}, ValueError, "'x'.*nan"),
        ({"schedules": {"fine": 0.1, "x": -0.1}}, ValueError, "'x'.*not negative.*update 0 has -0.1"),
        ({"schedules": {"x": "linear(0.1, -0.1, total=4)"}}, ValueError, "update 3 has -0.05"),
        ({"schedules": {"x": "cosine(0.1, total='1e6 tokens')"}}, ValueError, "'x' does not fit.*tokens"),
        ({"task": "digit"}, ValueError, "did you mean 'digits'"),
        ({"task": 3}, TypeError, "name or a Task"),
        ({"task": Sides}, TypeError, "name or a Task"),
        ({"epochs": 0}, ValueError, "epochs.*at least 1, got 0"),
        ({"epochs": -3}, ValueError, "epochs"),
        ({"epochs": 1.5}, ValueError, "epochs"),
        ({"epochs": "3"}, TypeError, "epochs"),
        ({"seeds": 0}, ValueError, "seeds.*at least 1"),
        ({"seeds": []}, ValueError, "at least one seed"),
        ({"seeds": [1, 1]}, ValueError, "differ"),
        ({"seeds": [-1]}, ValueError, "seed.*at least 0"),
        ({"seeds": [2**63]}, ValueError, "less than"),
        ({"seeds": "3"}, TypeError, "number of seeds"),
        ({"seeds": True}, TypeError, "seeds"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"jobs": 0}, ValueError, "jobs"),
        ({"jobs": -1}, ValueError, "jobs"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(changes: dict, error: type, message: str) -> None:
    arguments = {"schedules": {"a": 0.1}, "task": Forbidden(), "epochs": 1, "seeds": 1, "jobs": 1} | changes
    with pytest.raises(error, match=message):
        compare(**arguments)


@pytest.mark.parametrize(
    "changes", [{"momentum": 1}, {"momentum": -0.1}, {"weight_decay": -1}, {"weight_decay": float("inf")}]
)
def test_an_optimizer_without_sense_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Optimizer(**changes)


def test_a_store_that_cannot_be_used_is_found_before_the_data_are_read(tmp_path: Path) -> None:
    class Unread(Sides):
        def load(self):
            raise AssertionError("the data were read")

    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(StoreError, match="not a SQLite file"):
        compare({"a": 0.1}, Unread(), store=tmp_path / "notes.txt")


def test_numbers_of_numpy_are_numbers() -> None:
    found = compare(
        {"a": np.float32(0.5)}, Sides(), epochs=np.int64(1), seeds=np.int64(2), batch_size=np.int32(50), jobs=1
    )
    assert found.seeds == (0, 1)
    assert found.plan.updates == 8


def test_what_other_schedulers_do_is_compared_as_rates_or_as_a_function() -> None:
    def make(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)

    import optax

    found = compare(
        {
            "torch": trace(make, 8),
            "optax": optax.cosine_decay_schedule(1.0, 8),
            "array": np.full(8, 0.25),
            "laju": laju.cosine(1.0, total=8),
        },
        Sides(),
        epochs=1,
        seeds=1,
        batch_size=50,
        jobs=1,
    )
    torchs, optaxs, constant, ours = (s.values(8) for s in found.schedules.values())
    np.testing.assert_allclose(torchs, ours, rtol=1e-15, atol=1e-16)
    np.testing.assert_allclose(optaxs, ours, rtol=1e-6, atol=1e-7)
    assert set(constant) == {0.25}
    assert {t["status"] for t in found.trials()} == {"finished"}


@pytest.mark.parametrize(
    ("schedule", "message"),
    [(lambda t: "fast", "gave 'fast' for update 0, not a rate"), ([0.1, None], "entries"), ([], "entries")],
)
def test_rates_that_are_none_are_refused(schedule: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"schedule 'a'.*{message}"):
        compare({"a": schedule}, Forbidden(), epochs=1, seeds=1, jobs=1)


@pytest.mark.parametrize(
    ("framework", "message"),
    [
        ("pytorch", "not one of torch, tensorflow, jax, mxnet; did you mean 'torch'"),
        ([], "at least one"),
        (["jax", "jax"], "each once"),
    ],
)
def test_frameworks_that_are_none_are_refused(framework: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid({"a": 0.1}, framework=framework)


def test_a_task_for_torch_alone_is_refused_in_other_frameworks_before_its_data_are_read() -> None:
    class Unread(Sides):
        def load(self):
            raise AssertionError("the data were read")

    with pytest.raises(ValueError, match="has a model for torch alone, so it cannot be trained in jax"):
        compare(Grid({"a": 0.1}, 1, 1, framework=["torch", "jax"]), Unread(), jobs=1)


def test_a_schedule_made_of_pieces_is_named_alike_in_every_output_and_its_stored_trials_are_found(
    tmp_path: Path,
) -> None:
    pieces = laju.Ramp(0, 0.3, 5) >> laju.Ramp(0.3, 0, 15, "cosine")
    name = "cosine(0.3, total=20, warmup=5)"
    store = Store(tmp_path / "s.sqlite")
    watcher = Watcher()
    first = compare({"a": SCHEDULES["c"]}, Sides(), epochs=1, seeds=1, store=store, display=watcher)
    for given in (pieces, "Ramp(0, 0.3, 5) >> Ramp(0.3, 0, 15, 'cosine')"):
        found = compare({"a": given}, Sides(), epochs=1, seeds=1, store=store, display=watcher)
        assert found.outcomes == first.outcomes  # with its seconds: read, not trained
        assert found.findings().to_json()["schedules"] == {"a": name}
        assert found.findings().to_json()["summary"][0]["schedule"] == name
        write_report(found.findings(), tmp_path / "report")
        page = (tmp_path / "report" / "report.html").read_text()
        assert "cosine(0.3, total=20, warmup=5)" in page
        assert "Ramp(" not in page
