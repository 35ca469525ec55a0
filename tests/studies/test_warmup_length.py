from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import laju
from laju.lab import Digits, Optimizer, Trial
from laju.lab.engines import train
from laju.studies import Options, first_updates, trained_rates
from laju.studies import warmup_length as study
from laju.studies.base import Answer
from laju.studies.plain_networks import Plain, plain
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Sides, Slope

pytestmark = pytest.mark.slow

UPDATES = 23  # of one epoch of the digits
DEEP = Plain(Digits(), depth=16, gain=4.0)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warmup") / "a.sqlite"


@pytest.fixture(scope="module")
def small(kept: Path) -> Answer:
    return study.study(Options(small=True, jobs=1, store=kept))


def deep(schedule: laju.Schedule, seed: int = 0, epochs: int = 1) -> Trial:
    return Trial(DEEP, schedule, seed, epochs, 64)


def adam(schedule: laju.Schedule, **changes: object) -> Trial:
    return Trial(Slope(), schedule, 1, 1, 10, Optimizer(**{"kind": "adam", **changes}))  # type: ignore[arg-type]


# --- Adam in the lab ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adam", "radam"])
def test_a_trial_with_adam_is_what_torch_itself_computes(kind: str) -> None:
    schedule, betas = laju.linear(0.1, 0.01, total=10), (0.8, 0.9)
    trial = Trial(Sides(), schedule, 3, 1, 40, Optimizer(kind=kind, betas=betas, weight_decay=0.1))  # type: ignore[arg-type]
    records = train(trial).records

    task, data = trial.task, trial.task.data()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = task.model(3)
        make = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}[kind]
        optimizer = make(model.parameters(), betas=betas, weight_decay=0.1)
        total = 0.0
        for t, batch in enumerate(np.random.default_rng((3, 0)).permutation(400).reshape(10, 40)):
            optimizer.param_groups[0]["lr"] = schedule(t)
            loss = task.loss(
                model(torch.from_numpy(data.train_inputs[batch])), torch.from_numpy(data.train_labels[batch])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
    assert records[-1].train_loss == pytest.approx(total / 10, rel=1e-6)


def test_optimizers_that_earlier_stores_know_keep_their_text_and_others_have_their_own() -> None:
    assert [str(Optimizer()), str(Optimizer(0.9, 0.1))] == ["sgd()", "sgd(momentum=0.9, weight_decay=0.1)"]
    texts = {str(Optimizer(kind="adam")), str(Optimizer(kind="radam")), str(Optimizer(kind="adam", betas=(0.9, 0.99)))}
    assert texts == {"adam(betas=(0.9, 0.999))", "radam(betas=(0.9, 0.999))", "adam(betas=(0.9, 0.99))"}
    assert Optimizer(kind="adam", betas=[0.9, 0.999]) == Optimizer(kind="adam")  # type: ignore[arg-type]


def test_the_fingerprint_of_a_trial_stays_so_that_stores_stay_of_use() -> None:
    trial = Trial(Digits(), laju.constant(0.1), 0, 2, 64)
    assert trial.fingerprint == "cb5e321503da733d481a18d6dfbc4501e3dc0d526cf721a249023459956f45fa"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "adan"},
            "kind must be one of sgd, adam, radam, schedule-free, prodigy, got 'adan'; did you mean 'adam'",
        ),
        ({"kind": "adam", "momentum": 0.9}, "momentum is of kind 'sgd', and 'adam' has betas; got 0.9"),
        ({"betas": (0.9, 0.999)}, "betas are of kind 'adam' or 'radam', and this is 'sgd'"),
        ({"kind": "adam", "betas": (0.9, 1.0)}, "betas must be two numbers in"),
        ({"kind": "radam", "betas": (0.9,)}, "betas must be two numbers in"),
    ],
)
def test_an_optimizer_refuses_what_its_kind_has_no_use_for(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimizer(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("framework", ["tensorflow", "jax", "mxnet"])
def test_other_frameworks_than_torch_refuse_adam(framework: str) -> None:
    with pytest.raises(ValueError, match=rf"optimizer adam\(betas=.*\) is in torch alone, and '{framework}' has sgd"):
        Trial(Digits(), laju.constant(0.1), 0, 1, 64, Optimizer(kind="adam"), framework)  # type: ignore[arg-type]


# --- the deep network --------------------------------------------------------------------------------------------------


def test_a_plain_network_has_the_layers_and_the_scale_that_were_asked_for_and_leaves_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    network = plain(seed=1, inputs=100, classes=10, depth=5, width=400, gain=3.0)
    assert torch.equal(torch.random.get_rng_state(), before)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert [tuple(m.weight.shape) for m in layers] == [(400, 100), (400, 400), (400, 400), (400, 400), (10, 400)]
    for layer in layers:
        assert float(layer.weight.var()) == pytest.approx(3.0 / layer.in_features, rel=0.1)
        assert not layer.bias.any()
    again = plain(seed=1, inputs=100, classes=10, depth=5, width=400, gain=3.0)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 1), ("width", 0), ("gain", 0.0), ("gain", math.inf), ("seed", -1)]
)
def test_a_plain_network_refuses_impossible_sizes(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        plain(**{"seed": 0, "inputs": 4, "classes": 2, name: value})  # type: ignore[arg-type]


def test_the_first_update_of_a_warmup_of_n_updates_is_an_nth_of_that_without() -> None:
    without = np.array(first_updates.watch(deep(laju.constant(1e-3)))[1])
    outcome, sizes = first_updates.watch(deep(laju.warmup(1e-3, UPDATES, first=True)))
    warmed = np.array(sizes)
    assert warmed.shape == (UPDATES, 16)
    # To the float32 rounding of weights that change by 1e-5 of their norm.
    np.testing.assert_allclose(warmed[0], without[0] / UPDATES, rtol=1e-2)
    assert outcome.records == train(deep(laju.warmup(1e-3, UPDATES, first=True))).records


def test_frozen_layers_stay_and_the_others_move_until_they_thaw() -> None:
    for half, still in (("upper", slice(8, 16)), ("lower", slice(0, 8))):
        sizes = np.array(first_updates.watch(deep(laju.constant(1e-3)), half, updates=5)[1])
        moving = np.ones(16, dtype=bool)
        moving[still] = False
        assert (sizes[:5, still] == 0).all()
        assert (sizes[:5, moving] > 0).all()
        assert (sizes[5:] > 0).all()


def test_a_warmup_lets_a_deep_network_train_at_a_rate_that_diverges_at_once_without_one() -> None:
    for seed in range(2):
        assert train(deep(laju.constant(0.04), seed)).status == "diverged"
        outcome = train(deep(laju.warmup(0.04, UPDATES, first=True), seed, epochs=4))
        assert trained_rates.trains(outcome, DEEP.chance_loss)


# --- what is made of it ------------------------------------------------------------------------------------------------


def test_the_boundary_is_the_last_rate_before_the_first_failure_above_a_success() -> None:
    rates = [0.1, 0.2, 0.4, 0.8]
    assert trained_rates.boundary(rates, [True, True, True, True]) == 0.8
    assert trained_rates.boundary(rates, [False, True, True, False]) == 0.4
    assert trained_rates.boundary(rates, [True, False, True, True]) == 0.1
    assert trained_rates.boundary(rates, [False, False, False, False]) is None


RATES = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]


@pytest.mark.parametrize(
    ("ones", "others", "words"),
    [
        (
            [0.2, 0.4],
            [0.1, 0.1],
            "is not shown to change the range (2 to 4 times: wider for 2 of 2 seeds, narrower for 0)",
        ),
        (
            [6.4, 6.4, 3.2],
            [0.1] * 3,
            "is shown to widen the range (32 to 64 times: wider for 3 of 3 seeds, narrower for 0)",
        ),
        ([0.1] * 3, [3.2] * 3, "is shown to narrow the range (0.031 times: wider for 0 of 3 seeds, narrower for 3)"),
        # All seeds agree, and by one step, which is as far as a boundary is known: no proof.
        ([0.2] * 3, [0.1] * 3, "is not shown to change the range (2 times: wider for 3 of 3 seeds, narrower for 0)"),
        (
            [1.6, 3.2, 3.2, 3.2],
            [None] * 4,
            "is shown to widen the range (from none that trains: wider for 4 of 4 seeds, narrower for 0)",
        ),
        ([0.1] * 3, [0.1] * 3, "is no change for any seed"),
        (
            [0.1, 0.2],
            [0.2, 0.1],
            "is not shown to change the range (0.5 to 2 times: wider for 1 of 2 seeds, narrower for 1)",
        ),
        ([0.1, None], [0.2, None], "cannot be compared for every seed, as nothing trains"),
    ],
)
def test_words_claim_no_more_than_the_interval_of_the_steps_carries(
    ones: list[float | None], others: list[float | None], words: str
) -> None:
    assert trained_rates.Change.of(RATES, ones, others, 1).text == words


def test_the_study_finds_that_warmup_widens_the_stable_range_of_the_deep_network(small: Answer) -> None:
    ways = small.figures["settings"]["deep"]["ways"]
    without, warmed = ways["no warmup"], ways["warmup of 1 epoch"]
    assert all(
        (a or 0.0) > (b or 0.0)
        for a, b in zip(warmed["largest_rate_by_seed"], without["largest_rate_by_seed"], strict=True)
    )
    assert warmed["trained"][-1] == without["trained"][-1] == 0  # nothing trains at a rate of 5
    paragraph = next(p for p in small.text.split("\n\n") if "initial weights too large" in p)
    assert "with warmup of 1 epoch 0.04, which is not shown to change the range (" in paragraph
    assert "wider for 2 of 2 seeds" in paragraph
    assert small.verdict.startswith(
        "No warmup is shown to change the range of rates that train: ahead is warmup of 1 epoch ("
    )
    assert small.verdict.endswith("(laju study warmup-length … --seeds 5).")


def test_the_study_shows_the_rules_for_adam_beside_one_another(small: Answer) -> None:
    assert list(small.figures["settings"]["adam"]["ways"]) == [
        "no warmup", "warmup of 1 epoch", "untuned linear", "radam_warmup", "RAdam"
    ]  # fmt: skip
    assert small.figures["untuned_linear_updates"] == {"0.99": 200, "0.999": 2000}
    rule, by_hand = laju.untuned_linear(0.1, 0.99), laju.warmup(0.1, 200, first=True)
    np.testing.assert_array_equal(rule.values(300), by_hand.values(300))
    assert "2000 at Adam's default of 0.999, which is 22 times this whole run" in small.text


def test_the_study_shows_first_updates_layer_by_layer_and_what_freezing_does(small: Answer) -> None:
    sizes = small.figures["sizes"]["by_way"]
    assert list(sizes) == ["no warmup", "warmup of 1 epoch", "upper half frozen", "lower half frozen"]
    first = {way: np.array(s[0]) for way, s in sizes.items()}
    np.testing.assert_allclose(first["no warmup"], UPDATES * first["warmup of 1 epoch"], rtol=1e-2)
    assert (first["upper half frozen"][8:] == 0).all()
    np.testing.assert_allclose(first["upper half frozen"][:8], first["no warmup"][:8])
    assert {"upper half frozen", "lower half frozen"} == set(small.figures["freezing"]["ways"])


def test_the_study_has_tables_and_pictures_and_figures_that_json_takes(small: Answer) -> None:
    json.dumps(small.figures, allow_nan=False)
    assert set(small.pictures) == {"peak-and-warmup", "update-sizes"}
    assert all(isinstance(picture, Figure) for picture in small.pictures.values())
    for table in small.tables.values():
        assert {len(row) for row in table.rows} == {len(table.headings)}


def test_a_study_that_goes_on_trains_nothing_twice(small: Answer, kept: Path) -> None:
    watcher = Watcher()
    again = study.study(Options(small=True, jobs=1, store=kept, display=watcher))
    starts = [told[1:3] for told in watcher.told if told[0] == "start"]
    assert len(starts) == 2  # of the grids, and of the trainings that are looked into
    assert all(total == kept for total, kept in starts)
    assert (again.text, again.figures) == (small.text, small.figures)


def test_the_study_refuses_runs_that_are_shorter_than_a_warmup() -> None:
    with pytest.raises(ValueError, match="epochs must be at least 2, for a warmup of 1, got 1"):
        study.study(Options(small=True, epochs=1))
