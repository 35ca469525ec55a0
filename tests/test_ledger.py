import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju.frameworks.torch import Factor, Scheduler
from laju.ledger import Audit, Entry, Ledger, audit


def one_parameter(**options):
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    weight.grad = torch.ones_like(weight)
    return torch.optim.SGD([weight], **options)


def test_a_ledger_of_an_optimizer_holds_what_updates_really_used():
    schedule = laju.cosine(0.3, total=20, warmup=4)
    optimizer = one_parameter(lr=1.0, momentum=0.9)
    scheduler = Scheduler(optimizer, lr=schedule)
    ledger = Ledger.of(optimizer, ["lr", "momentum"])
    for _ in range(25):
        optimizer.step()
        scheduler.step()
    assert ledger.values() == schedule.values(25).tolist()
    assert ledger.values("momentum") == [0.9] * 25
    assert audit(schedule, ledger) == Audit(25)
    assert audit({"lr": schedule, "momentum": laju.constant(0.9)}, ledger).passed


def test_an_audit_names_the_first_update_that_differs():
    schedule = laju.cosine(0.3, total=20)
    optimizer = one_parameter(lr=0.3)
    # torch's own cosine climbs again after its end, which laju's does not.
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    ledger = Ledger.of(optimizer)
    for _ in range(30):
        optimizer.step()
        scheduler.step()
    result = audit(schedule, ledger, tolerance=1e-12)
    assert not result.passed
    assert result.first.update == 21
    assert "update 21 used lr=" in str(result)
    assert "the plan says 0.0" in str(result)


def test_an_audit_knows_the_bases_of_groups():
    schedule = laju.linear(1, 0.1, total=5)
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.ones(1)
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 1e-3}])
    scheduler = Scheduler(optimizer, lr=Factor(schedule))
    ledger = Ledger.of(optimizer)
    for _ in range(8):
        optimizer.step()
        scheduler.step()
    assert audit(schedule, ledger, bases=[1.0, 1e-3]).passed
    assert audit(schedule, ledger).first == Entry(0, "lr", 1, 1e-3)


def test_an_update_that_is_not_there_is_found():
    ledger = Ledger()
    for t in (3, 4, 6):
        ledger.record(t, lr=0.1)
    assert audit(laju.constant(0.1), ledger) == Audit(3, missing=5)
    assert "update 5 is not in the ledger" in str(audit(laju.constant(0.1), ledger))


def test_nan_is_never_the_plan():
    ledger = Ledger()
    ledger.record(0, lr=math.nan)
    assert not audit(laju.constant(0.1), ledger, tolerance=1.0).passed


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_csv_keeps_every_digit(tmp_path_factory, values):
    ledger = Ledger()
    for t, value in enumerate(values):
        ledger.record(t, lr=[value, 1 / 3], weight_decay=value)
    path = ledger.write_csv(tmp_path_factory.mktemp("ledger") / "used.csv")
    assert Ledger.read_csv(path).entries == ledger.entries


def test_a_file_that_is_no_ledger_is_refused_with_its_line(tmp_path):
    path = tmp_path / "used.csv"
    path.write_text("a,b\n")
    with pytest.raises(ValueError, match=r"used\.csv must begin with the line"):
        Ledger.read_csv(path)
    path.write_text("update,parameter,group,value\n0,lr,0,0.1\n1,lr,0\n")
    with pytest.raises(ValueError, match=r"used\.csv, line 3"):
        Ledger.read_csv(path)


def test_tensorboard_reads_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    ledger = Ledger()
    for t in range(5):
        ledger.record(t, lr=[0.5 / (t + 1), 0.1])
    with SummaryWriter(str(tmp_path)) as writer:
        ledger.write_tensorboard(writer)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("laju/lr/0")] == [
        (t, pytest.approx(0.5 / (t + 1), rel=1e-6)) for t in range(5)
    ]
    assert len(events.Scalars("laju/lr/1")) == 5


def test_there_must_be_something_to_audit():
    with pytest.raises(ValueError, match="no values of lr"):
        audit(laju.constant(0.1), Ledger())
    with pytest.raises(ValueError, match="no hyper-parameter 'momentun'"):
        Ledger.of(one_parameter(), ["momentun"])
