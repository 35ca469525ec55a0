import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju import Constant, Length, Ramp, RunPlan, UnresolvedError, cosine, factor, linear, multi_factor, parse
from laju.core.units import as_length

plan = RunPlan(samples=1000, batch_size=10, epochs=20)


@pytest.mark.parametrize(
    ("facts", "updates_per_epoch", "updates"),
    [
        ({"samples": 60_000, "batch_size": 256, "epochs": 30}, 235, 7050),
        ({"samples": 60_000, "batch_size": 256, "epochs": 30, "drop_last": True}, 234, 7020),
        ({"samples": 1000, "batch_size": 10, "epochs": 2, "accumulate": 4}, 25, 50),
        ({"samples": 1000, "batch_size": 10, "epochs": 2, "world_size": 8}, 13, 26),
        ({"samples": 5, "batch_size": 10, "epochs": 1}, 1, 1),
    ],
)
def test_a_plan_knows_its_updates(facts, updates_per_epoch, updates):
    run = RunPlan(**facts)
    assert (run.updates_per_epoch, run.updates) == (updates_per_epoch, updates)


@pytest.mark.parametrize("name", ["samples", "batch_size", "epochs", "accumulate", "world_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", None, float("nan")])
def test_a_plan_refuses_what_is_no_positive_whole_number(name, value):
    facts = {"samples": 10, "batch_size": 2, "epochs": 1, name: value}
    with pytest.raises((ValueError, TypeError), match=name):
        RunPlan(**facts)


def test_an_epoch_without_an_update_is_refused():
    with pytest.raises(ValueError, match="an epoch has no update"):
        RunPlan(samples=5, batch_size=10, epochs=1, drop_last=True)


def test_lengths_in_units_become_updates():
    assert cosine(1, total="100%", warmup="2 epochs").resolve(plan) == cosine(1, total=2000, warmup=200)
    assert cosine(1, total="20 epochs", warmup="10%").resolve(plan) == cosine(1, total=2000, warmup=200)
    assert linear(1, 0, "15000 samples").resolve(plan) == linear(1, 0, 1500)
    assert factor(1, 0.5, every="1 epoch").resolve(plan) == factor(1, 0.5, every=100)
    assert multi_factor(1, ["5 epochs", "75%"], 0.1).resolve(plan) == multi_factor(1, [500, 1500], 0.1)
    tokens = RunPlan(samples=1000, batch_size=10, epochs=20, tokens_per_sample=512)
    assert linear(1, 0, "5.12e6 tokens").resolve(tokens) == linear(1, 0, 1000)


def test_boundaries_round_where_they_fall_so_errors_do_not_add_up():
    odd = RunPlan(samples=100, batch_size=1, epochs=1)
    thirds = Constant(1, "0.5%") >> Constant(2, "0.5%") >> Constant(3, "99%")
    resolved = thirds.resolve(odd)
    assert resolved.length == 100
    assert [part.length for part in resolved.parts] == [1, 0, 99]


def test_a_schedule_in_epochs_holds_its_value_for_the_epoch():
    run = RunPlan(samples=6, batch_size=2, epochs=4)
    s = linear(1, 0, total=4).per("epoch").resolve(run)
    assert s.values(13).tolist() == [1, 1, 1, 0.75, 0.75, 0.75, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0]
    smooth = linear(1, 0, total=4).per("epoch", smooth=True).resolve(run)
    assert smooth == linear(1, 0, total=12)


@given(st.integers(1, 50), st.integers(2, 40), st.integers(1, 50))
def test_the_value_of_epoch_e_is_in_force_during_epoch_e(updates_per_epoch, total, shift):
    run = RunPlan(samples=updates_per_epoch, batch_size=1, epochs=total)
    own = cosine(0.3, total=total, warmup=total // 3, final=0.01)
    resolved = own.per("epoch").resolve(run)
    for e in range(total + 3):
        for i in {0, updates_per_epoch // 2, updates_per_epoch - 1}:
            assert resolved(e * updates_per_epoch + i) == own(e)


def test_percent_inside_a_clock_of_epochs_counts_the_run_in_epochs():
    assert linear(1, 0, "50%").per("epoch", smooth=True).resolve(plan) == linear(1, 0, 1000)


def test_a_per_schedule_in_a_chain_is_placed_by_its_length():
    s = (linear(0, 1, total=2).per("epoch", smooth=True) >> linear(1, 0, "90%")).resolve(plan)
    assert s == Ramp(0, 1, 200) >> Ramp(1, 0, 1800)


def test_an_unresolved_schedule_says_what_is_missing():
    s = cosine(1, total="100%", warmup="2 epochs")
    for ask in (lambda: s(0), lambda: s.values(3)):
        with pytest.raises(UnresolvedError, match=r"lengths are in %, epochs.*RunPlan"):
            ask()
    with pytest.raises(UnresolvedError, match="tokens_per_sample"):
        linear(1, 0, "1e9 tokens").resolve(plan)
    with pytest.raises(TypeError, match="RunPlan"):
        s.resolve(100)


def test_lengths_print_as_what_reads_back():
    for text in ("5 epochs", "10%", "2.5 epochs", "2000000000 tokens", "90 epochs - 500 updates", "10% + 3 updates"):
        assert str(as_length(text)) == text
        assert as_length(str(as_length(text))) == as_length(text)
    assert str(as_length("2e9 tokens")) == "2000000000 tokens"
    assert as_length("500") == as_length("500 updates") == 500
    assert str(as_length("0.125 epochs")) == "0.125 epochs"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2B tokens", "2e9 tokens"),
        ("500M tokens", "500000000 tokens"),
        ("1.5T tokens", "1500000000000 tokens"),
        ("10k updates", "10000"),
        ("10 K samples", "10000 samples"),
        ("2B tokens - 5k updates", "2e9 tokens - 5000 updates"),
        (".5M tokens", "5e5 token"),
    ],
)
def test_thousands_to_trillions_have_a_letter(text, same):
    assert as_length(text) == as_length(same)
    s = cosine(1, total="9T tokens", warmup=text)
    assert repr(s) == f"cosine(1, total='9T tokens', warmup={text!r})"
    assert parse(str(s)) == s
    assert laju.from_json(s.to_json()) == s
    assert s.fingerprint == cosine(1, total="9e12 tokens", warmup=same).fingerprint


def test_a_run_of_two_billion_tokens():
    run = RunPlan(samples=1_000_000, batch_size=500, epochs=1, tokens_per_sample=2_000)
    assert cosine(1, total="2B tokens", warmup="10M tokens").resolve(run) == cosine(1, total=2000, warmup=10)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2B", "say what 2B counts, as in '2B tokens'"),
        ("2k%", "say what 2k counts"),
        ("2b tokens", "unknown unit 'b'; units are .*billions B"),
        ("2m tokens", "unknown unit 'm'; .*millions M"),
        ("2Btokens", "unknown unit 'Btokens'"),
        ("2BB tokens", "unknown unit 'BB'"),
    ],
)
def test_a_letter_alone_is_no_length(text, says):
    with pytest.raises(ValueError, match=says):
        linear(1, 0, total=text)


@given(st.decimals(0, 10**6, places=4), st.sampled_from(["epochs", "%", "tokens", "samples"]))
def test_every_decimal_length_reads_back(amount, unit):
    text = f"{amount}%" if unit == "%" else f"{amount} {unit}"
    length = as_length(text)
    assert as_length(str(length)) == length


@pytest.mark.parametrize(
    "text", ["", "five epochs", "5 parsecs", "5 5 epochs", "epochs", "1e99999 tokens", "- ", "5 epochs -", "x" * 500]
)
def test_a_text_that_is_no_length_is_refused(text):
    with pytest.raises(ValueError, match="must be a whole number of updates, 0 or more, or text such as"):
        Ramp(0, 1, text)


def test_a_total_less_its_warmup_keeps_both_units():
    s = cosine(1, total="90 epochs", warmup="500 updates")
    assert s == parse(str(s))
    assert s.parts[1].length == Length.of({"epochs": 90, "updates": -500})
    assert s.resolve(plan).length == 9000
    with pytest.raises(ValueError, match="the parts before fill all of its time"):
        cosine(1, total="1 epoch", warmup=500).resolve(plan)
    with pytest.raises(ValueError, match="warmup must be shorter"):
        cosine(1, total="10%", warmup="10%")


def test_warmup_on_a_schedule_in_units():
    assert laju.warmup(cosine(1, total="90%"), "10%").resolve(plan) == cosine(1, total=2000, warmup=200)
    assert laju.warmup(0.1, "2 epochs").resolve(plan).values(201)[-1] == 0.1


ramped = RunPlan(
    samples=1000, batch_size=10, epochs=2, tokens_per_sample=8, batch_ramp=[("400 samples", 20), ("50%", 50)]
)


def test_a_batch_ramp_counts_the_updates_of_every_stretch():
    assert ramped.pace == ((0, 0, 10), (40, 400, 20), (70, 1000, 50))
    assert ramped.updates == 40 + 30 + 20
    assert [ramped.samples_before(t) for t in (0, 1, 40, 41, 70, 71)] == [0, 10, 400, 420, 1000, 1050]
    assert [ramped.update_at(s) for s in (0, 1, 10, 11, 400, 401, 1000, 1001, 2000)] == [0, 1, 1, 2, 40, 41, 70, 71, 90]


def test_with_a_batch_ramp_a_schedule_in_tokens_has_the_same_value_at_the_same_token():
    s = cosine(0.3, total="16000 tokens", warmup="1600 tokens", final=0.01)
    constant_size = RunPlan(samples=1000, batch_size=1, epochs=2, tokens_per_sample=8)
    by_sample, by_update = s.resolve(constant_size), s.resolve(ramped)
    for t in range(ramped.updates + 5):
        assert by_update(t) == pytest.approx(by_sample(ramped.samples_before(t)), rel=1e-14)
    np.testing.assert_allclose(by_update.values(95), [by_update(t) for t in range(95)], rtol=1e-14)
    assert by_update.length == ramped.updates
    assert parse(str(by_update)) == by_update


def test_with_a_batch_ramp_every_data_unit_means_the_same_place():
    percent, epochs, samples = (linear(1, 0, length).resolve(ramped) for length in ("100%", "2 epochs", "2000 samples"))
    assert percent == epochs == samples
    staircase = linear(1, 0, 2).per("epoch").resolve(ramped)
    assert [staircase(t) for t in (0, 69, 70, 89, 90)] == [1, 1, 0.5, 0.5, 0]


def test_with_a_batch_ramp_parts_in_updates_and_parts_in_data_follow_one_another():
    s = (linear(0, 1, 45) >> linear(1, 0, "1500 samples")).resolve(ramped)
    assert s(44) == pytest.approx(44 / 45)
    assert s(45) == 1
    begin = ramped.samples_before(45)
    assert s(80) == pytest.approx(1 - (ramped.samples_before(80) - begin) / 1500)
    with pytest.raises(ValueError, match="counts updates and data at once"):
        (linear(0, 1, 45) * linear(1, 0, "1500 samples")).resolve(ramped)
    with pytest.raises(UnresolvedError, match="mixes updates"):
        linear(1, 0, "2 epochs - 5 updates").resolve(ramped)


@pytest.mark.parametrize(
    ("ramp", "words"),
    [
        ([("50%", 20), ("10%", 50)], "increasing positions"),
        ([("500%", 20)], "inside the run"),
        ([("50%", 0)], r"batch_ramp\[0\]"),
        ([5], "pairs"),
        ([("5 updates - 1 epoch", 20)], "mixes updates"),
    ],
)
def test_a_batch_ramp_that_cannot_be_is_refused(ramp, words):
    with pytest.raises((ValueError, TypeError), match=words):
        RunPlan(samples=1000, batch_size=10, epochs=2, batch_ramp=ramp)
