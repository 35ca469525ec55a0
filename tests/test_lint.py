"""The linter finds what is probably not meant, says nothing about what is, and its remedies remedy."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju import RunPlan, constant, cosine, factor, linear, multi_factor, parse, square_root
from laju.cli.check import command
from laju.inspect.lint import CODES, LEVELS, Finding, check, looked_at
from laju.inspect.lint.run import Run
from tests.strategies import schedules

PAGES = Path(__file__).parent.parent / "docs" / "checks"
PLAN = RunPlan(samples=60_000, batch_size=256, epochs=30)  # 235 updates an epoch, 7,050 in all


def codes(schedule, plan=None, **options):
    return [f.code for f in check(parse(schedule) if isinstance(schedule, str) else schedule, plan, **options)]


def one(schedule, code, plan=None, **options) -> Finding:
    (found,) = [f for f in check(parse(schedule), plan, **options) if f.code == code]
    return found


def remedy(finding: Finding) -> laju.Schedule:
    return parse(re.search(r"`(.+)`", finding.instead)[1])


# (code, arguments that trigger it, the same without the fault)
CASES = [
    ("LAJU001", ("cosine(0.3, total=20, warmup=5)", 20), ("Ramp(0, 0.3, 5, first=True) >> cosine(0.3, total=15)", 20)),
    ("LAJU001", ("Ramp(1, 0, 10, endpoint=True)", 10), ("Ramp(1, 0, 10)", 10)),
    ("LAJU001", ("constant(0).take(5) >> 0.1", 20), ("constant(0.01).take(5) >> 0.1", 20)),
    (
        "LAJU002",
        ("Ramp(0, 1, 3).overlay(linear(1, 0, total=6))", 6),
        ("Ramp(0, 1, 3) >> linear(1, 0, total=3)", 6),
    ),
    (
        "LAJU002",
        ('cosine(0.3, total=60).warmup(20, how="times")', 60),
        ("cosine(0.3, total=40).warmup(20)", 60),
    ),
    (
        "LAJU002",
        ("0.5 * (linear(0, 1, 5) >> linear(0.6, 0, 15))", 20),
        ("0.5 * (linear(0, 1, 5) >> linear(1, 0, 15))", 20),
    ),
    ("LAJU003", ("linear(0, 0.3, 5) >> cosine(0.2, 15)", 20), ("linear(0, 0.2, 5) >> cosine(0.2, 15)", 20)),
    (
        "LAJU003",
        ("Ramp(0, 1, 5) * (Constant(0.3, 2) >> Constant(0.15, 3) >> Constant(0.3))", 20),
        ("multi_factor(0.3, [2, 9], 0.5).warmup(5, how='times')", 20),
    ),
    (
        "LAJU003",
        ('(linear(0, 0.3, 5) >> cosine(0.2, 25)).per("epoch")', PLAN),
        ('(linear(0, 0.3, 5) >> cosine(0.3, 25)).per("epoch")', PLAN),
    ),
    (
        "LAJU003",
        ("Ramp(0, 1, 3).overlay(linear(1, 0, total=6))", 6),
        ('linear(1, 0, total=6).warmup(3, how="overlay")', 6),
    ),
    ("LAJU004", ("cosine(0.3, 10) >> 0.1", 20), ("cosine(0.3, 10, final=0.1) >> 0.1", 20)),
    ("LAJU004", ("linear(1, 0, 10) >> linear(0, 1, 10)", 20), ("(linear(1, 0, 10) >> linear(0, 1, 10)).repeat()", 20)),
    ("LAJU005", ("cosine(0.3, 100)", 80), ("cosine(0.3, 100)", 100)),
    ("LAJU005", ("cosine(0.3, 10).repeat(3)", 25), ("cosine(0.3, 10).repeat()", 25)),
    ("LAJU005", ("cosine(0.3, 100)", 80), ('cosine(0.3, "100%")', 80)),
    ("LAJU006", ("cosine(0.3, 80)", 100), ("cosine(0.3, 80, final=0.01) >> 0.01", 100)),
    ("LAJU006", ('cosine(0.3, total=20).per("epoch")', PLAN), ('cosine(0.3, total=30).per("epoch")', PLAN)),
    ("LAJU006", ("0.1 * cosine(1, 80)", 100), ("constant(0.1).take(80)", 100)),
    ("LAJU007", ("multi_factor(0.1, [50, 100], 0.1)", 100), ("multi_factor(0.1, [50, 99], 0.1)", 100)),
    ("LAJU007", ("cosine(0.3, 200, final=0.1) >> 0.1", 100), ("cosine(0.3, 100, final=0.1) >> 0.1", 100)),
    ("LAJU009", ("linear(0, 1, 100) >> 1.0", 100), ("linear(0, 1, 99) >> 1.0", 100)),
    ("LAJU009", ('constant(1).warmup("31 epochs")', PLAN), ('constant(1).warmup("2 epochs")', PLAN)),
    (
        "LAJU009",
        ('cosine(1, total="100%", warmup="31 epochs")', PLAN),
        ('cosine(1, total="100%", warmup="2 epochs")', PLAN),
    ),
    ("LAJU010", ("Ramp(0, 1, 0) >> cosine(1, 10)", 10), ("cosine(1, 10)", 10)),
    ("LAJU010", ("linear(2, 1, 10) * Ramp(2, 1, 0)", 10), ("linear(2, 1, 10) >> Constant(1, 0)", 10)),
    ("LAJU012", ("linear(1, -0.5, 10)", 10), ("linear(1, 0, 10)", 10)),
    ("LAJU013", ("cosine(0.3, total=30, warmup=5)", PLAN), ('cosine(0.3, total=30, warmup=5).per("epoch")', PLAN)),
    ("LAJU013", ("multi_factor(0.1, [10, 20], 0.1)", PLAN), ("multi_factor(0.1, [2350, 4700], 0.1)", PLAN)),
    ("LAJU013", ("factor(0.3, 0.5, every=10)", PLAN), ("factor(0.3, 0.5, every=2350)", PLAN)),
    ("LAJU013", ("factor(0.3, 0.5, every=10, floor=0.01)", PLAN), ("factor(0.3, 0.999, every=10, floor=0.01)", PLAN)),
    ("LAJU013", ("cosine(0.3, total=20).repeat()", PLAN), ("cosine(0.3, total=470).repeat()", PLAN)),
    ("LAJU013", ("cosine(0.3, total=1000)", 250_000), ("cosine(0.3, total=250_000)", 250_000)),
    ("LAJU013", ("cosine(0.3, total=100)", 1000), ("cosine(0.3, total=101)", 1000)),
    ("LAJU013", ("cosine(0.3, total=1800000)", PLAN), ("cosine(0.3, total='1800000 samples')", PLAN)),
    ("LAJU015", ("cosine(1e-9, 10)", 10), ("cosine(1e-7, 10)", 10)),
    ("LAJU016", ('factor(0.3, 0.5, every="1%")', 30), ('factor(0.3, 0.5, every="10%")', 30)),
    ("LAJU017", ("Exponential(1, 10)", 1000), ("Exponential(1, 10).minimum(5)", 1000)),
]


@pytest.mark.parametrize(("code", "wrong", "right"), CASES)
def test_what_triggers_a_finding_and_what_does_not(code, wrong, right):
    assert code in codes(*wrong)
    assert code not in codes(*right)


@pytest.mark.parametrize(
    "spec",
    [
        "cosine(0.3, total='100%')",
        "cosine(0.3, total=30).per('epoch')",
        "cosine(0.3, total='98%').warmup('2%', start=0.01)",
        "linear(0.3, 0, total=7050)",
        "linear(1e-6, 1, total='100%')",
        "poly(0.3, total=7050, power=2, final=0.001)",
        "multi_factor(0.5, ['10 epochs', '20 epochs'], 0.1)",
        "factor(0.3, 0.5, every='5 epochs')",
        "factor(0.3, 0.9, every=1).per('epoch')",
        "square_root(0.1)",
        "constant(0.1)",
        "constant(0.1).warmup(100, first=True)",
        "constant(0.1).warmup(100, start=0.01, how='times')",
        "constant(0.1).warmup('1 epoch', start=0.01, shape='constant')",
        "cosine(0.3, total=705).repeat()",
        "cosine(0.3, total=705).repeat(growth=2, decay=0.5)",
        "linear(0.01, 0.1, total=470).repeat(mirror=True)",
        "cosine(0.3, total=3525) >> cosine(0.3, total=3525)",
        "Ramp(0.01, 0.3, '30%', 'cosine') >> cosine(0.3, total='70%', final=1e-4)",
        "Ramp(0, 0.3, '5%', first=True) >> constant(0.3).take('75%') >> linear(0.3, 0, '20%')",
        "Table([0.1, 0.05, 0.08, 0.01], every='25%')",
    ],
)
def test_nothing_is_found_in_an_ordinary_schedule_that_fits_its_run(spec):
    assert check(parse(spec), PLAN) == []


@pytest.mark.parametrize("spec", ["cosine(0.3, total='100%', warmup='5%')", "constant(0.1).warmup(500)"])
def test_an_ordinary_warmup_from_0_wastes_one_update_and_nothing_else_is_said(spec):
    (finding,) = check(parse(spec), PLAN)
    assert (finding.code, finding.update) == ("LAJU001", 0)
    assert check(remedy(finding), PLAN) == []


def test_a_finding_says_where_it_is():
    assert one("linear(1, -1, 10)", "LAJU012", 10).update == 6
    assert one("linear(0, 0.3, 5) >> cosine(0.2, 15)", "LAJU003", 20).update == 5
    assert one("cosine(0.3, 10) >> 0.1", "LAJU004", 20).update == 10
    assert one("Ramp(1, 0, 10, endpoint=True)", "LAJU001", 10).update == 9
    assert one("multi_factor(0.1, [50, 100], 0.1)", "LAJU007", 100).update == 100
    assert one("Exponential(1, 10)", "LAJU017", 1000).update == 309


def test_a_run_of_another_length_says_which_value_it_ends_with():
    stops = one("linear(1, 0, 100)", "LAJU005", 60)
    assert "it stops at 0.41 on its way to 0" in stops.message
    assert remedy(stops).length == 60
    holds = one("linear(1, 0.25, 60)", "LAJU006", 100)
    assert "0.25 holds for the other 40" in holds.message
    assert (holds.update, remedy(holds).length) == (60, 100)
    assert "the rate is 0 in the other 40" in one("linear(1, 0, 60)", "LAJU006", 100).message
    assert remedy(one('linear(1, 0, 20).per("epoch")', "LAJU006", PLAN)) == linear(1, 0, 30).per("epoch")
    assert "LAJU006" not in codes("constant(0.1).take(20)", 100)


@pytest.mark.parametrize(
    ("length", "plan", "unit"),
    [
        (1000, RunPlan(samples=8000, batch_size=32, epochs=1000), "1,000 epochs"),
        (1000, RunPlan(samples=250_000, batch_size=1, epochs=1), "another unit"),
        (100, RunPlan(samples=250_000, batch_size=10, epochs=2), "percent"),
        (60_000 * 30, PLAN, "samples"),
        (60_000, PLAN, "the samples of one epoch"),
        (60_000 * 30 * 128, dataclasses.replace(PLAN, tokens_per_sample=128), "tokens"),
        (235 * 30, dataclasses.replace(PLAN, accumulate=4), "micro-batches"),
        (235 * 30, dataclasses.replace(PLAN, world_size=8), "the updates of all processes"),
        (235 * 30, dataclasses.replace(PLAN, accumulate=2, world_size=2), "the micro-batches of all processes"),
    ],
)
def test_a_length_in_another_unit_is_recognised(length, plan, unit):
    finding = one(f"cosine(0.3, total={length})", "LAJU013", plan)
    assert unit in finding.message
    if "`" in finding.instead:
        assert codes(remedy(finding), plan) == []


def test_a_length_with_the_noise_of_a_multiplication_ends_where_it_was_meant_to():
    stretched = laju.Table([1, 0.5, 0.1, 0], 1 + 2**-50, "linear")
    assert stretched.length > 3
    assert codes(stretched, 3) == []


def test_a_length_with_a_unit_is_believed():
    assert "LAJU013" not in codes("cosine(0.3, total='20 updates') >> linear(0.1, 0, '100%')", PLAN)
    plan = RunPlan(samples=64, batch_size=1, epochs=1000)
    assert codes("cosine(0.3, total='1 epoch') >> 0.0001", plan) == []
    assert codes("cosine(0.3, total='1.8e6 samples')", PLAN) == []  # the last batch of every epoch is incomplete


@pytest.mark.parametrize("name", ["momentum", "beta1", "betas[1]"])
def test_averages_stay_below_1(name):
    assert codes("linear(0.85, 1.05, 100)", 100, parameter=name) == ["LAJU011"]
    assert codes("linear(-0.1, 0.9, 100)", 100, parameter=name) == ["LAJU011"]
    assert codes("linear(0.95, 0.85, 50) >> linear(0.85, 0.95, 50)", 100, parameter=name) == []
    assert codes("constant(0)", 100, parameter=name) == []


def test_a_weight_decay_may_be_0_and_may_rise_but_not_be_negative():
    assert codes("linear(0.1, 0, 50) >> linear(0, 0.1, 50)", 100, parameter="weight_decay") == []
    assert codes("linear(0.1, -0.1, 100)", 100, parameter="weight_decay") == ["LAJU012"]


def test_a_floor_is_held_against_the_smallest_group():
    spec = "cosine(1e-3, total=100, final=1e-4)"
    finding = one(spec, "LAJU008", 100, groups=[1e-3, 1e-5])
    assert "group 1" in finding.message
    assert remedy(finding) == cosine(1, total=100, final=0.1)
    assert codes(remedy(finding), 100, groups=[1e-3, 1e-5]) == []
    assert codes(spec, 100, groups=[1e-3, 2e-4]) == []
    assert codes(spec, 100) == []


@pytest.mark.parametrize("optimizer", ["adamw", "AdamW", type("AdamW", (), {})()])
def test_a_peak_for_sgd_is_too_large_for_adam(optimizer):
    assert codes("cosine(0.1, 100)", 100, optimizer=optimizer) == ["LAJU014"]
    assert codes("cosine(0.001, 100)", 100, optimizer=optimizer) == []
    assert codes("cosine(0.1, 100)", 100, optimizer="sgd") == []
    assert codes("cosine(1, 100)", 100, optimizer=optimizer, groups=[3e-4]) == []
    assert codes("cosine(1, 100)", 100, optimizer=optimizer, groups=[0.3]) == ["LAJU014"]


@pytest.mark.parametrize("optimizer", ["ftrl", "Rprop", "prodigy", type("ScheduleFreeWrapper", (), {})()])
def test_a_first_rate_of_zero_is_an_error_where_the_optimizer_cannot_bear_it(optimizer):
    warm = cosine(0.001, total=100, warmup=5)
    (found,) = [f for f in check(warm, 100, optimizer=optimizer) if f.code == "LAJU018"]
    assert (found.level, found.update) == ("error", 0)
    assert found.fix == "cosine(0.001, total=100, warmup=5, first=True)"
    assert codes(laju.parse(found.fix), 100, optimizer=optimizer) == []
    assert codes(cosine(0.001, 100), 100, optimizer=optimizer) == []
    assert "LAJU018" not in codes(warm, 100, optimizer="sgd")
    assert "LAJU018" not in codes(warm, 100, optimizer=optimizer, parameter="weight_decay")


def test_torchs_rprop_does_not_recover_from_a_first_rate_of_zero():
    torch = pytest.importorskip("torch")
    from laju.frameworks.torch import Scheduler

    moved = []
    for first in (False, True):
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.Rprop([weight])
        scheduler = Scheduler(optimizer, lr=cosine(0.01, total=100, warmup=5, first=first))
        for _ in range(20):
            weight.grad = torch.ones(1)
            optimizer.step()
            scheduler.step()
        moved.append(-weight.item())
    assert moved[0] < 1e-2 * moved[1]


def test_without_a_plan_only_the_schedule_itself_is_looked_at():
    assert codes("cosine(0.3, total=20)") == []
    assert codes("cosine(0.3, total=20, warmup=5)") == ["LAJU001"]
    assert codes("multi_factor(0.1, [30, 10000], 0.1)") == []
    assert looked_at(square_root(1)) == 1000
    assert looked_at(multi_factor(1, [30, 10_000], 0.1)) == 20_000


@pytest.mark.parametrize("n", [10**7, 10**12, 2**60])
def test_a_very_long_run_is_checked_without_looking_at_every_update(n):
    half = n // 2
    assert codes(cosine(0.3, total=n), n) == []
    assert "LAJU001" in codes(cosine(0.3, total=half, warmup=half // 2) >> 0.0, n)
    assert "LAJU004" in codes(cosine(0.3, total=half) >> 0.1, n)


def test_units_without_a_plan_are_an_error_of_laju():
    with pytest.raises(laju.UnresolvedError, match="epochs"):
        check(cosine(0.3, total="5 epochs"))
    with pytest.raises(laju.UnresolvedError, match="epochs"):
        check(cosine(0.3, total="5 epochs"), 1000)
    with pytest.raises(laju.UnresolvedError, match="tokens_per_sample"):
        check(cosine(0.3, total="5 tokens"), PLAN)
    assert check(cosine(0.3, total="100%"), 1000) == []


def test_wrong_questions_are_refused_with_the_nearest_name():
    s = constant(0.1)
    with pytest.raises(TypeError, match="schedule must be"):
        check(0.1)
    with pytest.raises(TypeError, match="plan must be"):
        check(s, "10 epochs")
    with pytest.raises(ValueError, match="plan must be"):
        check(s, 0)
    with pytest.raises(ValueError, match="did you mean 'momentum'"):
        check(s, 10, parameter="momentun")
    with pytest.raises(ValueError, match="did you mean 'adamw'"):
        check(s, 10, optimizer="adamww")
    with pytest.raises(ValueError, match=r"groups\[1\]"):
        check(s, 10, groups=[1, 0])
    with pytest.raises(TypeError, match="groups must be"):
        check(s, 10, groups="1e-3")


plans = st.one_of(
    st.none(),
    st.integers(1, 300),
    st.builds(
        RunPlan,
        samples=st.integers(1, 500),
        batch_size=st.integers(1, 8),
        epochs=st.integers(1, 30),
        accumulate=st.integers(1, 3),
        world_size=st.integers(1, 2),
        tokens_per_sample=st.none() | st.integers(1, 9),
    ),
    st.builds(
        lambda at: RunPlan(samples=200, batch_size=2, epochs=3, batch_ramp=[(f"{at} samples", 8)]), st.integers(1, 500)
    ),
)
in_units = st.builds(
    lambda s, unit, smooth: s.per(unit, smooth), schedules, st.sampled_from(["epoch", "%", "sample"]), st.booleans()
)


@pytest.mark.slow
@settings(max_examples=120)
@given(
    st.one_of(schedules, in_units),
    plans,
    st.sampled_from([None, "adamw", "sgd"]),
    st.sampled_from([None, [1e-5, 1]]),
    st.sampled_from(["lr", "weight_decay", "beta1"]),
)
def test_no_schedule_and_no_plan_makes_the_linter_fail_and_every_remedy_remedies(s, plan, optimizer, groups, parameter):
    def found(schedule):
        return check(schedule, plan, optimizer=optimizer, groups=groups, parameter=parameter)

    if s.units and (plan is None or (isinstance(plan, int) and s.units != {"%"})):
        with pytest.raises(laju.UnresolvedError):
            found(s)
        return
    findings = found(s)
    assert [f.update for f in findings] == sorted(f.update for f in findings)
    for f in findings:
        assert f.code in CODES
        assert f.update >= 0
        assert all((f.message, f.why, f.instead))
        json.dumps(f.to_json(), allow_nan=False)
        if "`" in f.instead:
            assert f.code not in {again.code for again in found(remedy(f))}


@pytest.mark.slow
@settings(max_examples=15)
@given(schedules)
def test_no_very_long_run_makes_the_linter_fail(schedule):
    assert all(f.code in CODES for f in check(schedule, 10**7))


def test_a_run_without_findings_has_no_zero_no_negative_and_no_infinite_value():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c = rng.uniform(-0.2, 1, 3).round(1).tolist()
        s = linear(a, b, total=10) >> linear(b, c, total=10)
        found = set(codes(s, 20))
        values = s.values(20)
        assert ("LAJU001" in found) == bool((values == 0).any())
        assert ("LAJU012" in found) == bool((values < 0).any())


def test_a_function_of_the_users_is_checked_by_its_values():
    s = laju.Function(lambda t: 0.1 * (1 + np.cos(np.pi * t / 100)) + 1e-4)
    assert codes(s, 100) == []
    assert codes(s, 150) == ["LAJU004"]
    assert codes(laju.Function(lambda t: float("nan")), 10) == ["LAJU017"]


def test_a_schedule_that_decays_by_a_factor_every_update_is_not_taken_for_another_unit():
    assert codes(factor(0.3, 0.9995), PLAN) == []


# --- the pages -------------------------------------------------------------------------------------------------------


def examples(page: Path) -> list[tuple[list[str], str]]:
    """(arguments, output) of every `laju check` on a page."""
    blocks = re.findall(r"^```console\n\$ laju check (.+?)\n(.*?)\n```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(shlex.split(arguments), output) for arguments, output in blocks]


def test_every_code_has_a_page_and_every_page_a_code():
    assert {page.stem for page in PAGES.glob("LAJU*.md")} == set(CODES)
    for code, title in CODES.items():
        finding = Finding(code, 0, "message", "why", "instead")
        page = PAGES.parent / f"{finding.page.rstrip('/')}.md"
        assert page.read_text().startswith(f"# {code}: {title}\n")
        assert ".md" not in str(finding)  # a wheel has no pages
        assert f"| [{code}]({code}.md) | {LEVELS[code]} | {title} |" in (PAGES / "index.md").read_text()


@pytest.mark.parametrize("code", CODES)
def test_the_example_of_a_page_triggers_its_code_and_the_remedy_is_clean(code):
    (wrong, said), (right, clean) = examples(PAGES / f"{code}.md")
    result = CliRunner().invoke(command, wrong)
    assert (result.exit_code, result.output.rstrip()) == (int(LEVELS[code] != "note"), said)
    assert f"{code} {LEVELS[code]} at update" in said
    result = CliRunner().invoke(command, right)
    assert (result.exit_code, result.output.rstrip()) == (0, clean)


def test_the_example_of_the_table_of_codes_comes_out():
    for arguments, said in examples(PAGES / "index.md"):
        assert CliRunner().invoke(command, arguments).output.rstrip() == said


def test_a_run_of_ten_thousand_million_updates_is_checked_with_bounded_work():
    run = Run(s := cosine(0.3, total=10**10), s, None, 10**10, None, (), "lr")
    assert run.t.size < 10**5
    assert run.t[-1] == 10**10 - 1


@pytest.mark.parametrize(
    ("text", "n"),
    [("constant(0.3).shift(9)", 5), ("constant(0.01).shift(1)", 100), ("Exponential(0.6, 0.9, 5).shift(1)", 200)],
)
def test_what_is_shifted_has_no_boundary_of_its_own(text, n):
    assert codes(text, n) == []


def test_curves_that_touch_at_an_update_cross_there():
    assert codes("inverse_sqrt(0.2, warmup=5).minimum(0.0)", 20) == ["LAJU001"]


@pytest.mark.parametrize(
    "text",
    [
        "triangular(0.033, 0.33, 17).take(1).reverse().repeat(growth=3, decay=0.9, mirror=True)",
        "Ramp(1.0, 0.5, 1, 'exponential', endpoint=True).repeat(growth=3.0, decay=0.5)",
    ],
)
def test_cycles_that_grow_beyond_64_bits_are_checked(text):
    for n in (100, None):
        assert "LAJU013" not in codes(text, n)
