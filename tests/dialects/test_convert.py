"""`laju.dialects.convert`: the printed programs train with the schedule's rates, and what it says of a migration is so."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import laju
from laju.convert.writers import TARGETS
from laju.dialects import Conversion, DialectError, NotASchedule, convert, read
from laju.dialects.base import SYSTEMS
from laju.inspect.outline import Outline, natural_end
from tests.pages import check

ROOT = Path(__file__).parents[2]
few = settings(max_examples=40, deadline=None, derandomize=True)
OWN = [target for target in TARGETS if target in SYSTEMS]


# --- the printed programs --------------------------------------------------------------------------------------------

PYTHONS = {"mxnet": ROOT / ".venv-mxnet" / "bin" / "python", "paddle": ROOT / ".venv-paddle" / "bin" / "python"}
NEEDS = {"torch": "torch", "transformers": "transformers", "timm": "torch", "optax": "optax", "keras": "keras"}
SPECS = (
    "constant(0.1)",
    "linear(0.1, 0, total=20)",
    "cosine(0.1, total=20, final=0.01)",
    "cosine(0.1, total=20, warmup=5)",
    "cosine(0.1, total=20, warmup=5, start=0.01)",
    "linear_to_zero(0.1, total=20, warmup=5)",
    "poly(0.1, total=20, power=2)",
    "factor(0.1, 0.5, every=5)",
    "multi_factor(0.1, [5, 12], 0.1)",
    "factor(0.1, 0.9)",
    "wsd(0.1, total=20, cooldown=5, warmup=5)",
    "inverse_sqrt(0.1, warmup=5)",
    "cosine_restarts(0.1, 10)",
    "one_cycle(0.1, total=20)",
    "triangular(0.01, 0.1, 4)",
    "0.5 * constant(0.1)",
)
FROM_OTHERS = (
    ("timm", "CosineLRScheduler(t_initial=20, warmup_t=5, warmup_lr_init=1e-6)"),
    ("transformers", "get_cosine_schedule_with_warmup(optimizer, 3, 20)"),
    ("torch", "SequentialLR([LinearLR(start_factor=0.1, total_iters=5), CosineAnnealingLR(T_max=15)], milestones=[5])"),
    ("torch", "torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=20)"),
)


def _run(source: str) -> dict[str, int]:
    """20 counts; of those in epochs, two updates each, as in the programs that step once an epoch."""
    return {"epochs": 20, "updates_per_epoch": 2} if source == "timm" else {"updates": 20}


def rates(target: str, programs: list[str]) -> list[list[float]]:
    """What the programs train with, in a process of the target's."""
    python = PYTHONS.get(target, Path(sys.executable))
    if not python.exists():
        pytest.skip(f"needs {target}'s own environment: make setup-{target}")
    if target in NEEDS:
        pytest.importorskip(NEEDS[target], reason=f"needs the package {NEEDS[target]}")
    more = []
    if target == "timm":
        folder = Path(os.environ.get("LAJU_VISION", ROOT / ".vision")) / "timm" / "scheduler"
        if not folder.is_dir():
            pytest.skip(f"needs timm in {folder.parent.parent}: make setup-vision")
        more = [str(folder)]
    # The compiler's threads and logs are no part of what is tested.
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [str(python), "-W", "error::DeprecationWarning:__main__", str(Path(__file__).parent / "converted.py"), target, *more],
        input=json.dumps(programs), capture_output=True, text=True, timeout=300, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "laju"])
def test_the_printed_programs_train_with_the_schedules_rates(target: str) -> None:
    found = [convert(spec, "laju", target, updates=25) for spec in SPECS]
    found += [
        convert(text, source, target, lr=None if "OneCycle" in text else 0.1, **_run(source))
        for source, text in FROM_OTHERS
    ]
    used = rates(target, [conversion.code for conversion in found])
    single = target in ("optax", "keras")
    for conversion, real in zip(found, used, strict=True):
        if conversion.unit == "epoch":
            real = real[::2]  # the programs' epochs have two updates, with one rate
        ours = conversion.schedule.values(conversion.updates)
        # Recurrences of torch and formulas in float32 lose some digits; one update's difference would be thousands of times more.
        allowed = (4e-6 if single else 1e-12) * np.abs(ours).max()
        assert np.abs(np.array(real) - ours).max() <= allowed, (conversion.text, conversion.code)
        if not conversion.own and not single and target not in PYTHONS:  # whose NumPy has another cosine
            assert real == ours.tolist(), conversion.text
    if target in OWN:
        assert sum(conversion.own for conversion in found) >= {"keras": 7, "mxnet": 5}.get(
            target, 8
        )  # an MXNet decay is one count ahead
        assert not all(conversion.own for conversion in found)


def test_laju_s_own_program_runs() -> None:
    found = convert("CosineLRScheduler(t_initial=20)", "timm", "laju", lr=0.1)
    space: dict[str, Any] = {}
    exec(found.code, space)
    assert found.own
    assert space["rate"] == found.schedule(19)
    assert laju.parse(found.spec) == found.schedule


# --- the target's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "target", "call"),
    [
        ("cosine(0.1, total=20, warmup=5)", "optax",
         "warmup_cosine_decay_schedule(init_value=0.0, peak_value=0.1, warmup_steps=5, decay_steps=20)"),
        ("cosine(0.1, total=20, warmup=5)", "timm",
         "CosineLRScheduler(t_initial=15, warmup_t=5, warmup_prefix=True)"),
        ("cosine(0.1, total=20, warmup=5)", "keras",
         "CosineDecay(initial_learning_rate=0.0, decay_steps=15, warmup_target=0.1, warmup_steps=5)"),
        ("linear_to_zero(0.1, total=20, warmup=5)", "transformers",
         "get_linear_schedule_with_warmup(num_warmup_steps=5, num_training_steps=20)"),
        ("wsd(0.1, total=20, cooldown=5, warmup=5, shape='1-sqrt')", "transformers",
         'get_wsd_schedule(num_warmup_steps=5, num_decay_steps=5, num_stable_steps=10, decay_type="1-sqrt")'),
        ("inverse_sqrt(0.1, warmup=5)", "transformers", "get_inverse_sqrt_schedule(num_warmup_steps=5)"),
        ("cosine(0.1, total=20, warmup=5, start=0.01, final=0.01)", "torch",
         "SequentialLR([LinearLR(start_factor=0.1, total_iters=5), CosineAnnealingLR(T_max=15, eta_min=0.01), "
         "ConstantLR(factor=0.1, total_iters=10**9)], milestones=[5, 20])"),
        ("multi_factor(0.1, [5, 12], 0.1)", "torch", "MultiStepLR(milestones=[5, 12], gamma=0.1)"),
        ("multi_factor(0.1, [5, 12], 0.1)", "timm", "MultiStepLRScheduler(decay_t=[6, 13], decay_rate=0.1)"),
        ("cosine_restarts(0.1, 5, growth=2)", "torch", "CosineAnnealingWarmRestarts(T_0=5, T_mult=2)"),
        ("triangular(0.01, 0.1, 4)", "torch",
         "CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=4, cycle_momentum=False)"),
        ("inverse_time(0.1, 0.5)", "keras",
         "InverseTimeDecay(initial_learning_rate=0.1, decay_steps=2, decay_rate=1.0)"),
        ("cosine(0.1, 20, k=2)", "timm", "CosineLRScheduler(t_initial=20, k_decay=2.0)"),
    ],
)  # fmt: skip
def test_the_targets_own_scheduler_is_found(spec: str, target: str, call: str) -> None:
    found = convert(spec, "laju", target, updates=30)
    assert found.own
    assert found.call == call


rate = st.sampled_from([0.1, 3e-4, 1.0, 0.037])
total = st.integers(6, 60)
share = st.sampled_from([0.0, 0.1, 0.003])


@st.composite
def schedules(draw: st.DrawFn) -> laju.Schedule:
    """Schedules as people have them, with a warmup or without."""
    peak, n = draw(rate), draw(total)
    warm, start, final = draw(st.integers(0, n // 2)), peak * draw(share), peak * draw(share)
    rest = max(n - warm, 1)
    decay = draw(
        st.sampled_from(
            [
                laju.constant(peak), laju.linear(peak, final, rest), laju.cosine(peak, rest, final=final),
                laju.poly(peak, rest, power=2, final=final), laju.factor(peak, 0.5, every=7), laju.factor(peak, 0.97),
                laju.multi_factor(peak, [3, 11], 0.1), laju.inverse_time(peak, 0.1), laju.inverse_sqrt(peak, timescale=9),
                laju.cosine_restarts(peak, 7), laju.cosine_restarts(peak, 5, growth=2),
                laju.wsd(peak, rest + 4, 4, final=final), laju.one_cycle(peak, rest + 4),
                laju.cosine(peak, rest).repeat(mirror=True), laju.cosine(peak, rest, k=2), laju.tanh_decay(peak, rest),
                laju.exponential(peak, 0.01 * peak, rest), laju.rex(peak, rest),
            ]
        )
    )  # fmt: skip
    return laju.linear(start, peak, warm) >> decay if warm else decay


@pytest.mark.parametrize("target", OWN)
def test_what_is_called_own_has_the_schedules_values_for_ever(target: str) -> None:
    single = target in ("optax", "keras")
    owned = 0

    @few
    @given(schedules(), st.integers(5, 90))
    def check(schedule: laju.Schedule, n: int) -> None:
        nonlocal owned
        found = convert(schedule, "laju", target, updates=n)
        if found.own:
            owned += 1
            assert found.call is not None
            given = {} if found.nearest_lr is None else {"lr": found.nearest_lr}
            theirs = read(target, found.call, **given).values(5 * n + 2000)
            ours = schedule.values(5 * n + 2000)
            assert np.abs(theirs - ours).max() <= (1e-6 if single else 1e-12) * np.abs(ours).max()
        elif found.difference is not None and found.after is not None:
            # The figures are those of the nearest: measured again, one by one.
            assert found.nearest is not None
            given = {} if found.nearest_lr is None else {"lr": found.nearest_lr}
            near = read(target, found.nearest, **given)
            apart = [abs(near(t) - schedule(t)) for t in range(n)]
            assert found.difference.largest == pytest.approx(max(apart), rel=1e-9, abs=1e-17)
            assert apart[found.difference.largest_at] == pytest.approx(max(apart), rel=1e-9, abs=1e-17)
        assert laju.parse(found.spec) == schedule

    check()
    assert owned >= (3 if target == "mxnet" else 5)


@pytest.mark.parametrize("source", OWN)
def test_a_schedule_that_stays_in_its_system_keeps_its_call(source: str) -> None:
    calls = {
        "torch": ("CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=3, mode='exp_range', gamma=0.99, cycle_momentum=False)", None),
        "transformers": ("get_cosine_schedule_with_warmup(optimizer, 3, 20, num_cycles=1.5)", 0.1),
        "timm": ("CosineLRScheduler(t_initial=20, warmup_t=5)", 0.1),
        "optax": ("optax.sgdr_schedule([{'init_value': 0.0, 'peak_value': 1.0, 'warmup_steps': 2, 'decay_steps': 9}])", None),
        "keras": ("CosineDecayRestarts(0.1, 7)", None),
        "mxnet": ("CosineScheduler(max_update=20, base_lr=0.1, warmup_steps=3)", None),
        "paddle": ("LinearWarmup(CosineAnnealingDecay(0.1, 20), 3, 0.0, 0.1)", None),
    }  # fmt: skip
    text, lr = calls[source]
    found = convert(text, source, source, lr=lr, **_run(source))
    assert found.own
    assert found.call is not None
    assert "optimizer" not in found.call
    assert read(source, found.call, **({} if lr is None else {"lr": lr})) == found.schedule


# --- counts ----------------------------------------------------------------------------------------------------------


def test_epochs_become_updates_where_the_target_counts_them() -> None:
    text = "CosineLRScheduler(t_initial=4)"
    found = convert(text, "timm", "optax", lr=0.1, updates_per_epoch=5)
    assert found.updates == 20
    assert found.unit == "update"
    per_epoch = read("timm", text, lr=0.1)
    assert found.schedule.values(25).tolist() == [per_epoch(t // 5) for t in range(25)]
    assert found.nearest is not None
    assert found.own  # a piecewise constant one of four epochs


def test_epochs_stay_epochs_where_the_target_may_be_stepped_once_an_epoch() -> None:
    found = convert("CosineLRScheduler(t_initial=20)", "timm", "torch", lr=0.1)
    assert found.unit == "epoch"
    assert "for epoch in range(20)" in found.code
    assert any("once an epoch" in trap for trap in found.traps)
    updates = convert("CosineLRScheduler(t_initial=20, t_in_epochs=False)", "timm", "torch", lr=0.1)
    assert updates.unit == "update"
    stepped = convert("CosineAnnealingLR(T_max=20)", "torch", "keras", lr=0.1, updates_per_epoch=3)
    assert stepped.updates == 60


IN_EPOCHS = (
    ("CosineLRScheduler(t_initial=4, warmup_t=2)", "timm"),
    ("StepLRScheduler(decay_t=2, decay_rate=0.5)", "timm"),
    ("MultiStepLRScheduler(decay_t=[2, 4], decay_rate=0.1)", "timm"),
    ("FactorScheduler(factor=0.5, stop_factor_lr=1e-9, base_lr=0.1)", "d2l"),
    ("MultiStepLR(milestones=[2, 3])", "mmengine"),
    ("CosineAnnealingLR(T_max=4)", "mmengine"),
    ("MultiStepLR([2, 3])", "torch"),
)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["transformers", "optax", "keras", "mxnet"])
def test_a_program_in_epochs_trains_with_each_rate_for_an_epoch(target: str) -> None:
    programs, meant = [], []
    for text, source in IN_EPOCHS:
        theirs = read(source, text, **({} if "base_lr" in text else {"lr": 0.1}))
        for per in (None, 1, 5):
            lr = None if "base_lr" in text else 0.1
            found = convert(text, source, target, lr=lr, epochs=5, updates_per_epoch=per)
            assert "UPDATES_PER_EPOCH" in found.code
            for each in {3, 4} if per is None else {per}:
                programs.append(found.code.replace("UPDATES_PER_EPOCH = ...", f"UPDATES_PER_EPOCH = {each}"))
                meant.append([theirs(t // each) for t in range(5 * each)])
    for program, real, ours in zip(programs, rates(target, programs), meant, strict=True):
        assert np.abs(np.array(real) - ours).max() <= 4e-6 * max(ours), program


def test_a_program_without_the_updates_of_an_epoch_stops_and_says_what_is_missing() -> None:
    pytest.importorskip("torch")
    found = convert("CosineLRScheduler(t_initial=4)", "timm", "transformers", lr=0.1)
    assert found.unit == "epoch"
    for number in ("...", "'391'", "391.0"):
        program = found.code.replace("UPDATES_PER_EPOCH = ...", f"UPDATES_PER_EPOCH = {number}")
        with pytest.raises(
            TypeError, match=r"UPDATES_PER_EPOCH must be the number of updates in an epoch, such as len"
        ):
            exec(program, {})
    given = convert("CosineLRScheduler(t_initial=4)", "timm", "transformers", lr=0.1, updates_per_epoch=391)
    assert "UPDATES_PER_EPOCH = 391  # len(train_loader)\n\n" in given.code


@pytest.mark.parametrize(
    ("text", "epochs", "whole"),
    [
        ("cosine(0.1, total='6 epochs', warmup='2 epochs')", None, True),
        ("cosine(0.1, total='6 epochs', warmup='0.5 epochs')", None, False),
        ("cosine(0.1, total='100%', warmup='1 epoch')", 4, True),
        ("constant(0.1).take('3 epochs') >> constant(0.01)", 5, True),
    ],
)
def test_a_schedule_of_laju_in_epochs_becomes_a_program_with_the_updates_of_an_epoch(
    text: str, epochs: int | None, whole: bool
) -> None:
    n = epochs or 6
    for target in ("laju", "optax", "transformers"):
        found = convert(text, "laju", target, epochs=epochs)
        assert said(found, "stops until the number stands there")
        if target == "laju":
            for each in (4, 7, 391):
                space: dict[str, Any] = {}
                exec(found.code.replace("UPDATES_PER_EPOCH = ...", f"UPDATES_PER_EPOCH = {each}"), space)
                plan = laju.RunPlan(samples=each, batch_size=1, epochs=n)
                assert space["schedule"] == laju.parse(text).resolve(plan)
                assert space["update"] == n * each - 1
        elif target == "optax":
            assert found.own == whole
            if found.call is not None:
                ours = laju.parse(text).resolve(laju.RunPlan(samples=391, batch_size=1, epochs=n))
                theirs = read("optax", found.call.replace("UPDATES_PER_EPOCH", "391"))
                np.testing.assert_allclose(theirs.values(n * 391), ours.values(n * 391), rtol=1e-6, atol=1e-9)
            else:
                assert "for every number of updates in an epoch" in found.report
    with pytest.raises(DialectError, match=r"has lengths in .*tokens: give updates_per_epoch"):
        convert(f"Ramp(0.0, 0.1, '9 tokens') >> ({text})", "laju", "optax", epochs=5)
    with pytest.raises(DialectError, match=r"configurations count updates, .*give updates_per_epoch"):
        convert(text, "laju", "yaml:nanogpt", epochs=epochs)


def test_the_targets_own_call_has_its_lengths_in_multiples() -> None:
    found = convert("MultiStepLRScheduler(decay_t=[3, 7], decay_rate=0.1)", "timm", "keras", lr=0.1, epochs=9)
    assert found.own
    assert found.call == (
        "PiecewiseConstantDecay(boundaries=[2 * UPDATES_PER_EPOCH - 1, 6 * UPDATES_PER_EPOCH - 1], "
        "values=[0.1, 0.010000000000000002, 0.0010000000000000002])"
    )
    plain = read("keras", found.call.replace("UPDATES_PER_EPOCH", "391"))
    assert (plain(2 * 391 - 1), plain(2 * 391)) == (0.1, 0.010000000000000002)


def test_a_unit_that_is_guessed_is_told() -> None:
    guessed = convert("CosineAnnealingLR(T_max=20)", "torch", "optax", lr=0.1)
    assert said(guessed, "PyTorch counts calls of step(), which were taken for updates", "--updates-per-epoch")
    assert not said(convert("CosineAnnealingLR(T_max=20)", "torch", "optax", lr=0.1, updates_per_epoch=2), "taken for")
    mixed = (
        "param_scheduler(0.1, [{'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 10}, "
        "{'type': 'MultiStepLR', 'milestones': [3, 5]}], max_epochs=8)"
    )
    with pytest.raises(DialectError, match=r"epoch_length is needed.*give updates_per_epoch"):
        convert(mixed, "mmengine", "optax")
    found = convert(mixed, "mmengine", "optax", epochs=8, updates_per_epoch=50)
    assert found.updates == 400
    assert found.schedule(149) == pytest.approx(0.1)
    assert found.schedule(150) == pytest.approx(0.01)
    with pytest.raises(DialectError, match="timm counts epochs here: give epochs"):
        convert("CosineLRScheduler(t_initial=4)", "timm", "optax", lr=0.1, updates=400)


def test_lengths_in_epochs_of_laju_s_own_need_a_run() -> None:
    spec = 'cosine(0.3, total=4).per("epoch")'
    found = convert(spec, "laju", "keras", epochs=4, updates_per_epoch=3)
    assert found.updates == 12
    assert found.schedule == laju.parse(spec).resolve(laju.RunPlan(samples=3, batch_size=1, epochs=4))
    with pytest.raises(DialectError, match="updates_per_epoch and epochs"):
        convert(spec, "laju", "keras", updates=12)


@pytest.mark.parametrize(
    ("text", "source", "end"),
    [
        ("CosineAnnealingLR(T_max=20)", "torch", 20),
        ("get_cosine_schedule_with_warmup(3, 20)", "transformers", 20),
        ("CosineLRScheduler(t_initial=20, warmup_t=5, warmup_prefix=True)", "timm", 25),
        ("PolynomialLR(total_iters=9)", "torch", 9),
        ("OneCycleLR(max_lr=0.1, total_steps=30)", "torch", 30),
    ],
)
def test_a_run_ends_where_the_decay_does(text: str, source: str, end: int) -> None:
    assert convert(text, source, "laju", lr=None if "OneCycle" in text else 0.1).updates == end


# --- traps -----------------------------------------------------------------------------------------------------------


def said(conversion: Conversion, *words: str) -> bool:
    return any(all(word in trap for word in words) for trap in conversion.traps)


def test_traps_are_named() -> None:
    cut = convert("CosineLRScheduler(t_initial=300, warmup_t=5, warmup_lr_init=1e-6)", "timm", "optax", lr=0.1)
    assert said(cut, "falls from 0.1 to 0.0999315", "5")
    climbs = convert("get_cosine_schedule_with_warmup(0, 20)", "transformers", "optax", lr=0.1)
    assert not climbs.own
    assert said(climbs, "equal over the run", "from update 21 on", "stays at 0", "climbs to 0.1")
    zero = convert("cosine(0.1, total=20, warmup=5)", "laju", "torch")
    assert said(zero, "update 0 trains at a rate of 0")
    assert said(zero, "refuses a start_factor of 0")
    assert zero.difference is not None
    assert zero.difference.first == 0
    late = convert("Constant(0.1, 5) >> Constant(0.02)", "laju", "keras", updates=12)
    assert late.own  # the boundary's off-by-one is in the call
    assert late.call == "PiecewiseConstantDecay(boundaries=[4], values=[0.1, 0.02])"
    assert said(late, "a boundary", "belongs to the value before it")


def test_a_schedule_that_counts_from_1_is_said_to_be_one_ahead() -> None:
    early = convert(
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(0, 40, min_lr=0.0)", "transformers", "keras", lr=0.1
    )
    assert not early.own
    assert said(early, "one update ahead", "second value, at update 0")
    # With a warmup, whose last value is the cosine's first one, it is a cosine with a shorter warmup.
    warm = convert(
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(3, 40, min_lr=0.0)", "transformers", "keras", lr=0.1
    )
    assert not said(warm, "ahead")
    assert warm.difference is not None
    assert warm.difference.equal
    assert not said(convert("cosine(0.1, total=40, warmup=3)", "laju", "keras"), "ahead")


# --- bad input -------------------------------------------------------------------------------------------------------

WRONG = [
    (("CosineLRScheduler(t_initial=9)", "tim", "optax"), {"lr": 0.1}, "'tim' is not a system.*did you mean 'timm'"),
    (("CosineLRScheduler(t_initial=9)", "timm", "optx"), {"lr": 0.1}, "converts to; did you mean 'optax'"),
    (("CosinLRScheduler(t_initial=9)", "timm", "optax"), {"lr": 0.1}, "did you mean 'CosineLRScheduler'"),
    (("CosineLRScheduler(t_inital=9)", "timm", "optax"), {"lr": 0.1}, "did you mean 't_initial'"),
    (("CosineLRScheduler(t_initial=0)", "timm", "optax"), {"lr": 0.1}, "timm asserts it"),
    (("CosineLRScheduler(t_initial=9)", "timm", "optax"), {}, "lr is missing.*lr=0.1"),
    (("CosineLRScheduler(t_initial=9", "timm", "optax"), {"lr": 0.1}, "is not a call"),
    (("ExponentialLR(gamma=0.9)", "torch", "optax"), {"lr": 0.1}, "has no end.*--updates N"),
    (("constant(1)", "laju", "optax"), {}, "has no end"),
    (("constant(1)", "laju", "optax"), {"updates": 9, "lr": 0.1}, "remove lr"),
    (("constant_schedule(1)", "optax", "torch"), {"updates": 9, "lr": 0.1}, "remove lr"),
    (("linear_schedule(1, 0, 9)", "optax", "torch"), {"updates_per_epoch": 9}, "counts updates here.*epochs is missing"),
    (("constant(1)", "laju", "optax"), {"updates": 9, "epochs": 9}, "give only one"),
    (("StepLR(lr=0.1, step_size=3)", "torch", "optax"), {"updates": 9, "lr": 0.2}, "give lr only once"),
    (("CosineAnnealingLR(T_max=0)", "torch", "optax"), {"lr": 0.1}, "T_max must not be 0"),
    ((3, "laju", "optax"), {}, "must be a schedule, or the text of a call"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "message"), WRONG)
def test_bad_input_is_refused_with_what_would_be_valid(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(DialectError, match=f"(?s){message}"):
        convert(*arguments, **options)


def test_what_follows_a_metric_is_no_schedule() -> None:
    with pytest.raises(NotASchedule, match="Plateau"):
        convert("ReduceLROnPlateau(patience=3)", "torch", "optax", lr=0.1)


def test_values_that_are_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="updates must be"):
        convert("constant(1)", "laju", "optax", updates=0)
    with pytest.raises(ValueError, match="lr must be"):
        convert("StepLR(step_size=3)", "torch", "optax", updates=9, lr=-1.0)


def test_a_system_without_a_writer_gets_torch_s_adapter() -> None:
    found = convert("cosine(0.1, total=20)", "laju", "ignite")
    assert not found.own
    assert "laju.frameworks.torch" in found.code
    assert said(found, "no schedulers of PyTorch-Ignite's own") or said(found, "adapter for torch runs there")
    assert rates("torch", [found.code])[0] == found.schedule.values(20).tolist()


def test_a_configuration_is_converted(tmp_path: Path) -> None:
    config = {"learning_rate": 3e-5, "lr_scheduler_type": "linear", "warmup_steps": 10, "max_steps": 100}
    path = tmp_path / "training_args.json"
    path.write_text(json.dumps(config))
    found = convert(str(path), "config", "transformers")
    assert (found.source, found.updates, found.own) == ("transformers", 100, True)
    assert found.call == "get_linear_schedule_with_warmup(num_warmup_steps=10, num_training_steps=100)"
    with pytest.raises(OSError, match="absent"):
        convert(str(tmp_path / "absent.json"), "config", "torch")


# --- the outline -----------------------------------------------------------------------------------------------------


@few
@given(
    schedules(),
    st.integers(5, 80),
    st.sampled_from(["", "shift", "take", "scale", "raise", "stretch", "stairs", "overlay"]),
)
def test_an_outline_has_the_schedules_values(schedule: laju.Schedule, n: int, change: str) -> None:
    changed = {
        "": lambda: schedule, "shift": lambda: schedule.shift(-3), "take": lambda: schedule.take(n // 2),
        "scale": lambda: 0.5 * schedule, "raise": lambda: schedule + 0.01, "stretch": lambda: schedule.stretch(3),
        "stairs": lambda: schedule.staircase(4), "overlay": lambda: laju.linear(0.0, 0.3, 7).overlay(schedule),
    }[change]()  # fmt: skip
    outline = Outline(changed, n)
    assert outline.parts[0].begin == 0
    for part, after in zip(outline.parts, (*outline.parts[1:], None), strict=True):
        assert part.end == (None if after is None else after.begin)
        for t in range(part.begin, min(part.end or part.begin + 50, part.begin + 200)):
            assert part.piece(t - part.origin) == pytest.approx(changed(t), rel=1e-12, abs=1e-15)


def test_a_long_outline_stops_in_time() -> None:
    outline = Outline(laju.linear(1, 0, total=10**6).staircase(2), 10**6)
    assert len(outline.parts) <= 202
    assert not outline.complete
    assert natural_end(laju.linear(1, 0, total=10**6).staircase(2)) is None


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_folder_has_the_code_the_picture_and_the_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = convert("cosine(0.1, total=20, warmup=5)", "laju", "torch")
    written = found.save(tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["convert.py", "difference.png", "report.md", "report.html"]
    code, picture, markdown, page = written
    assert code.read_text(encoding="utf-8") == found.code
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert width > 600
    assert height > 400
    for text in (markdown.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")):
        assert "LinearLR(start_factor=1e-08, total_iters=5)" in text
        assert "update 0" in text
        assert "scheduler = Scheduler(optimizer, lr=schedule)" in text
    opened = check(page.read_text(encoding="utf-8"))
    assert "from laju to torch" in opened.words.lower()
    (touched,) = [json.loads(a["data-curves"] or "") for _, a in opened.elements if "data-curves" in a]
    assert next(curve["name"] for panel in touched["panels"] for curve in panel["curves"]) == "laju"
    assert found.save(tmp_path / "new" / "folder") == written


def test_what_a_user_wrote_is_escaped(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = convert("CosineLRScheduler(t_initial=20)", "timm", "torch", lr=0.1)
    hostile = Conversion(
        **{**{n: getattr(found, n) for n in Conversion.__dataclass_fields__}, "text": "<script>x</script>|"}
    )
    hostile.save(tmp_path)
    assert "timm: <script>x</script>|" in check((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert r"\|" in (tmp_path / "report.md").read_text(encoding="utf-8")


@few
@given(schedules(), st.sampled_from(["optax", "torch"]))
def test_json_has_everything(schedule: laju.Schedule, target: str) -> None:
    found = convert(schedule, "laju", target, updates=30)
    kept = json.loads(json.dumps(found.to_json()))
    assert laju.parse(kept["schedule"]) == schedule
    assert laju.from_json(kept["json"]) == schedule
    assert kept["code"] == found.code
    assume(found.difference is not None)
    assert kept["difference"]["equal"] == found.difference.equal  # type: ignore[union-attr]


def test_code_for_a_system_that_laju_writes_no_calls_of_is_the_adapter_even_from_that_system():
    found = convert("CosineParamScheduler(0.1, 0.01)", "fvcore", "fvcore", updates=100)
    assert not found.own
    assert "import CosineParamScheduler" not in found.code
    assert "a torch LRScheduler, which fvcore takes" in found.code
