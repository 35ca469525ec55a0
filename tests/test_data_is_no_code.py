"""Reading a text, JSON, a checkpoint or a saved model imports nothing and calls nothing, unless the user said functions=True."""

from __future__ import annotations

import copy
import io
import json
import sys
from pathlib import Path

import pytest

import laju
from laju import Function
from laju.adaptive import StateError

MARK = "ran_for_a_test"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that leaves a mark when it is imported."""
    (tmp_path / "marks_its_import.py").write_text(f"import sys\nsys.{MARK} = True\ndef rate(t): return 0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "marks_its_import", raising=False)
    monkeypatch.setattr(sys, MARK, False, raising=False)
    return "marks_its_import"


def ran() -> bool:
    return bool(getattr(sys, MARK))


def tree(module: str) -> dict:
    return {"laju": 1, "schedule": {"kind": "Function", "function": f"{module}:rate"}}


def test_text_and_json_hold_the_name_and_never_import_it(module: str) -> None:
    written = Function(f"{module}:rate")
    assert not ran()  # not even by the user's own, before a value is asked for
    for read in (
        laju.parse(f"Function('{module}:rate')"),
        laju.from_json(tree(module)),
        laju.from_json(json.dumps(tree(module))),
    ):
        assert read == written
        assert (str(read), hash(read), read.fingerprint) == (str(written), hash(written), written.fingerprint)
        for derived in (read, read.take(5) >> 0.1, read * 2, copy.deepcopy(read), read.per("epoch")):
            plan = laju.RunPlan(samples=10, batch_size=2, epochs=3)
            with pytest.raises(ValueError, match="functions=True"):
                derived.resolve(plan)(0)
            with pytest.raises(ValueError, match="--functions"):
                derived.resolve(plan).values(3)
    assert not ran()
    assert laju.parse(f"Function('{module}:rate')", functions=True)(3) == 0.1
    assert ran()
    assert written(3) == 0.1


@pytest.mark.parametrize("name", ["os", "os:", ":f", "os:system('x')", "a b:c", "os:path..join", 5, ""])
def test_what_is_no_name_is_refused_when_it_is_read(name: object) -> None:
    with pytest.raises(laju.SpecError, match=r"module:name|callable"):
        laju.from_json({"laju": 1, "schedule": {"kind": "Function", "function": name}})


@pytest.mark.parametrize("policy", ["strict", "new", "saved"])
def test_a_torch_checkpoint_runs_nothing(module: str, policy: str) -> None:
    torch = pytest.importorskip("torch")
    from laju.frameworks.state import fingerprint, sealed
    from laju.frameworks.torch import Scheduler

    def fresh() -> Scheduler:
        return Scheduler(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), lr=laju.constant(0.1))

    state = copy.deepcopy(fresh().state_dict())
    state["schedules"] = json.dumps({"lr": tree(module)})
    for print_of in ("x", fingerprint({"lr": Function(f"{module}:rate")})):
        state["fingerprint"] = print_of
        file = io.BytesIO()
        torch.save(sealed(state), file)
        file.seek(0)
        scheduler = fresh()
        before = copy.deepcopy(scheduler.state_dict())
        loaded = torch.load(file, weights_only=True)
        if policy == "new" and print_of != "x":
            scheduler.load_state_dict(loaded, policy=policy)
        else:
            with pytest.raises(StateError):
                scheduler.load_state_dict(loaded, policy=policy)
            assert scheduler.state_dict() == before
        assert not ran()


def test_a_checkpoint_of_a_function_that_the_code_wrote_itself_loads(module: str) -> None:
    torch = pytest.importorskip("torch")
    from laju.frameworks.torch import Scheduler

    def fresh() -> Scheduler:
        schedule = Function(f"{module}:rate")
        return Scheduler(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), lr=schedule)

    state = json.loads(json.dumps(fresh().state_dict()))
    other = fresh()
    other.load_state_dict(state)
    assert other.get_last_lr() == [0.1]


def test_an_edited_checkpoint_is_told() -> None:
    torch = pytest.importorskip("torch")
    from laju.frameworks.torch import Scheduler

    scheduler = Scheduler(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), lr=laju.constant(0.1))
    state = copy.deepcopy(scheduler.state_dict())
    state["schedules"] = json.dumps({"lr": laju.constant(0.5).to_json()})
    with pytest.raises(StateError, match="changed after it was saved"):
        scheduler.load_state_dict(state, policy="saved")


def test_a_text_on_the_command_line_runs_nothing_unless_the_user_says_so(module: str) -> None:
    from click.testing import CliRunner

    from laju.cli import cli

    for verb in ("show", "check", "plot", "diff"):
        text = [f"Function('{module}:rate')"] * (2 if verb == "diff" else 1)
        done = CliRunner().invoke(cli, [verb, *text, "--updates", "5"])
        assert done.exit_code in (1, 2)
        assert "--functions" in done.output
        assert not ran()
    assert (
        CliRunner().invoke(cli, ["show", f"Function('{module}:rate')", "--updates", "5", "--functions"]).exit_code == 0
    )
    assert ran()
