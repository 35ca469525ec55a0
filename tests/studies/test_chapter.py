"""Each tab of the chapter trains here as its printed cells do, and is set beside the figures that it publishes."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtrit

from laju.core.units import RunPlan
from laju.lab import Comparison, FashionMNIST, Optimizer, Store, Trial
from laju.lab.engines import loop
from laju.lab.engines.mxnet import interpreter
from laju.lab.report import html
from laju.lab.trials import Outcome, Record
from laju.lab.trials.tasks.idx import read_idx
from laju.studies.chapter import EPOCHS, TABS, TRAINED, Figures, Result, get_tab, rates, run, schedules
from tests.chapter_text import Chapter, opened, printed, seed_all, trains
from tests.lab.idx_writer import write_idx

FULL = RunPlan(samples=60_000, batch_size=256, epochs=EPOCHS)
MINI = Path("data") / "fashion-mnist-mini"


@pytest.fixture(scope="session")
def python_of() -> Any:
    """The interpreter that executes the printed cells of a tab."""

    def python_of(tab: str) -> str:
        if tab != "mxnet":
            return sys.executable
        try:
            return interpreter()
        except ModuleNotFoundError as error:
            pytest.skip(str(error))

    return python_of


def folder_of(source: Path, target: Path, train: int, test: int) -> Path:
    """A folder of IDX files with so many images, those of `source` over and over."""
    target.mkdir(parents=True)
    for part, n in (("train", train), ("t10k", test)):
        for kind in ("images-idx3", "labels-idx1"):
            name = f"{part}-{kind}-ubyte"
            array = read_idx(source / f"{name}.gz")
            write_idx(target / name, np.take(array, np.arange(n) % len(array), axis=0))
    return target


# --- rates -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("tab", "epochs"), [("pytorch", 30), ("pytorch", 16), ("tensorflow", 30), ("mxnet", 30)])
def test_the_weights_feel_the_rates_of_the_printed_cells_bit_by_bit(
    chapter: Chapter, python_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tab: str, epochs: int
) -> None:
    monkeypatch.setattr(loop, "RECORD_EVERY", 1)
    n = 100  # two updates an epoch, as the printed tab has with its 16 images
    if epochs == 30:
        trainings = printed(chapter, tab)["trainings"]
    else:
        trainings = chapter.run(tab, epochs=epochs, images=16, batch=8, python=python_of(tab))["trainings"]
    folder = folder_of(chapter.shared / MINI, tmp_path / "images", n, n)
    comparison = run(tab, data_dir=folder, epochs=epochs, seeds=1, jobs=1).comparison
    assert [training["name"] for training in trainings] == list(comparison.schedules) == list(TRAINED)
    for training in trainings:
        assert training["error"] is None
        felt = [record.rate for record in comparison.outcomes[training["name"], 0].records]
        assert len(felt) == len(training["rates"]) == 2 * epochs
        # What reaches the weights is a float32 in every framework.
        theirs = np.array(training["rates"], dtype=np.float32)
        np.testing.assert_array_equal(np.array(felt, dtype=np.float32)[:, np.newaxis], theirs)


def test_plotting_moves_the_multi_factor_scheduler_of_every_tab() -> None:
    def values(tab: str, epochs: int, n: int) -> list[float]:
        schedule = TABS[tab].rates(epochs)["multi-factor"]
        return (schedule if tab == "mxnet" else schedule.child).values(n).tolist()

    assert set(values("pytorch", 30, 30)) == {0.125}
    assert values("tensorflow", 30, 30) == [0.25] * 15 + [0.125] * 15
    assert values("mxnet", 30, 60) == [0.25] * 30 + [0.125] * 30
    # With fewer epochs the plot is shorter, too.
    assert set(values("pytorch", 3, 3)) == {0.5}
    assert values("tensorflow", 16, 16) == [0.25] * 15 + [0.125]


def test_as_meant_trains_what_the_text_describes_in_every_tab() -> None:
    for tab in TABS.values():
        assert rates(tab, as_meant=True) == {name: schedules()[name] for name in TRAINED}
        assert rates(tab) == tab.rates()
    different = {
        name: [meant for meant in TRAINED if not _equal(tab.rates()[meant], schedules()[meant])]
        for name, tab in TABS.items()
    }
    late = ["square root", "multi-factor", "cosine", "cosine with warmup"]
    assert different == {"pytorch": late, "tensorflow": ["multi-factor"], "mxnet": late}


def _equal(a: Any, b: Any) -> bool:
    return np.array_equal(a.resolve(FULL).values(FULL.updates), b.resolve(FULL).values(FULL.updates))


# --- trainings ---------------------------------------------------------------------------------------------------------


class InOrder:
    """The training data of a task in its own batches, as a loader of the printed loops: an epoch each time it is gone through."""

    def __init__(self, task: Any, seed: int, batch_size: int) -> None:
        self.task, self.seed, self.batch_size, self.epoch = task, seed, batch_size, 0

    def __iter__(self) -> Iterator[Any]:
        data, self.epoch = self.task.data(), self.epoch + 1
        for batch in self.task.batches(self.seed, self.epoch - 1, self.batch_size):
            yield data.train_inputs[batch], data.train_labels[batch]

    def __len__(self) -> int:
        return math.ceil(self.task.train_size / self.batch_size)

    def for_torch(self) -> Any:
        import torch

        loader = self

        class Tensors:
            def __iter__(self) -> Iterator[Any]:
                return (tuple(map(torch.from_numpy, pair)) for pair in loader)

            def __len__(self) -> int:
                return len(loader)

        return Tensors()

    def told_by(self, scheduler: Any) -> Any:
        """The scheduler, which Keras asks at the beginning of each epoch; Keras also looks into the data before the first."""

        def ask(epoch: int) -> float:
            self.epoch = epoch
            rate: float = scheduler(epoch)
            return rate

        return ask

    def for_tensorflow(self) -> Any:
        import tensorflow as tf

        kinds = tf.TensorSpec((None, 1, 28, 28), tf.float32), tf.TensorSpec((None,), tf.int64)
        images = tf.data.Dataset.from_generator(lambda: iter(self), output_signature=kinds)
        return images.map(lambda x, y: (tf.transpose(x, (0, 2, 3, 1)), y)).apply(
            tf.data.experimental.assert_cardinality(len(self))
        )


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["pytorch", "tensorflow"])
def test_the_printed_loop_with_the_same_weights_and_order_of_data_comes_out_the_same(
    chapter: Chapter, tmp_path: Path, tab: str
) -> None:
    # At small rates and for a few updates: where training is chaotic, sums in another order are soon another run.
    n, epochs = 640, 4
    folder = folder_of(chapter.shared / MINI, tmp_path / "images", n, n)
    for seed in (3, 4):
        comparison = run(tab, data_dir=folder, epochs=epochs, seeds=[seed], jobs=1).comparison
        order = InOrder(get_tab(tab).task(FashionMNIST(folder)), seed, 64)
        with opened(chapter, tab, epochs=epochs, images=n, batch=64) as printed:
            scheduler = printed.namespace["SquareRootScheduler"](lr=0.1)
            printed.namespace["train_iter"] = order.for_torch() if tab == "pytorch" else order.for_tensorflow()
            printed.namespace["scheduler"] = scheduler if tab == "pytorch" else order.told_by(scheduler)
            seed_all(tab, seed)
            said = printed.execute([cell for cell in printed.cells if trains(cell)][TRAINED.index("square root")])
        last = comparison.outcomes["square root", seed].records[-1]
        mine = [last.train_loss, last.train_accuracy, last.test_accuracy]
        # Three decimals are printed, and an image that lies on the border may change sides.
        assert mine == pytest.approx(printed_figures(said), abs=0.0006 + 1 / n)


def printed_figures(text: str) -> list[float]:
    """The three numbers of a training's last line."""
    found = [float(number) for number in re.findall(r"\d+\.\d+", text)]
    assert len(found) == 3, text
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tab", list(TABS))
def test_the_printed_cells_and_the_tab_here_end_within_the_interval_of_the_seeds(
    chapter: Chapter, python_of: Any, tab: str
) -> None:
    n, epochs = 3, 3
    as_printed = [chapter.run(tab, epochs=epochs, seed=seed, python=python_of(tab))["trainings"] for seed in range(n)]
    comparison = run(tab, data_dir=chapter.shared / MINI, epochs=epochs, seeds=n).comparison
    outside = []
    for i, name in enumerate(TRAINED):
        theirs = [printed_figures(seed[i]["printed"]) for seed in as_printed]
        for j, figure in enumerate(("train_loss", "train_accuracy", "test_accuracy")):
            a = [getattr(comparison.outcomes[name, seed].records[-1], figure) for seed in range(n)]
            b = [seed[j] for seed in theirs]
            difference, half = welch(a, b, confidence=1 - 0.05 / (3 * len(TRAINED)))
            if abs(difference) > half:
                outside.append((name, figure, a, b))
    assert not outside


def welch(a: list[float], b: list[float], confidence: float) -> tuple[float, float]:
    """The difference of two means, with half of its interval; the two may scatter differently."""
    of_a, of_b = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    half = stdtrit(freedom, (1 + confidence) / 2) * math.sqrt(of_a + of_b)
    return statistics.fmean(a) - statistics.fmean(b), half


# --- figures -----------------------------------------------------------------------------------------------------------


def outcome(plan: RunPlan, figures: Figures, off: float = 0.0) -> Outcome:
    """How a run ended, of the given figures plus `off`."""
    shifted = {name: value + off for name, value in vars(figures).items()}
    return Outcome("finished", (Record(update=plan.updates, epoch=plan.epochs, rate=0.01, **shifted),), 1.0)


def trained(
    tab: str = "pytorch",
    shift: float = 0.0,
    seeds: int = 3,
    spread: float = 0.001,
    plan: RunPlan = FULL,
    as_meant: bool = False,
    figures: Mapping[str, Figures] | None = None,
    **facts: Any,
) -> Result:
    """A tab whose runs ended at the published figures plus `shift`, ± `spread` from seed to seed."""
    which = TABS[tab]
    nothing = Figures(0.5, 0.5, 0.5)
    published = dict.fromkeys(TRAINED, nothing) | dict(which.published) | dict(figures or {})
    outcomes = {
        (name, seed): outcome(plan, published[name], shift + spread * (seed - (seeds - 1) / 2))
        for name in TRAINED
        for seed in range(seeds)
    }
    facts = {"task": f"fashion-mnist, {tab} tab", "optimizer": Optimizer(), "resolution": 1 / 10_000} | facts
    outcomes |= facts.pop("outcomes", {})
    comparison = Comparison(
        schedules=rates(which, plan.epochs, as_meant), plan=plan, seeds=tuple(range(seeds)), outcomes=outcomes, **facts
    )
    return Result(which, comparison, as_meant)


def judgements(result: Result) -> dict[str, str]:
    return {line.row.name: line.judgement for line in result.lines()}


@pytest.mark.parametrize("tab", ["pytorch", "tensorflow"])
def test_a_tab_is_held_against_its_own_figures(tab: str) -> None:
    published = TABS[tab].published
    assert judgements(trained(tab)) == dict.fromkeys(published, "agrees") | {"cosine with warmup": "none published"}
    title = TABS[tab].title
    assert trained(tab).verdict == (
        f"The figures of the {title} tab come out for constant, square root, multi-factor and cosine."
    )
    # The other tab's figures are no answer.
    (other,) = {"pytorch", "tensorflow"} - {tab}
    mistaken = trained(tab, figures=TABS[other].published)
    assert all(judgement.startswith("differs in train loss") for judgement in list(judgements(mistaken).values())[:4])
    assert "come out" not in mistaken.verdict


def test_a_published_figure_agrees_when_one_more_run_could_have_given_it() -> None:
    # Three seeds with s = 0.001: t = 4.303, so one more run lies within 4.303 · 0.001 · √(4/3) = 0.00497 of the mean.
    for shift, judgement in ((0.0, "agrees"), (0.0054, "agrees"), (0.0056, "differs")):
        found = trained(shift=shift)
        assert all(line.same_rates for line in found.lines())
        assert judgements(found)["cosine"].startswith(judgement)
    assert judgements(trained(shift=0.0056))["cosine"] == "differs in train loss, train accuracy and test accuracy"


def test_the_verdict_says_what_comes_out_and_what_does_not() -> None:
    off = Figures(0.195, 0.926, 0.95)
    assert trained(figures={"multi-factor": off}).verdict == (
        "The figures of the PyTorch tab come out for constant, square root and cosine; multi-factor differs in test accuracy."
    )
    lost = {("cosine", 1): Outcome("diverged", (), 1.0, diverged_at=7)}
    assert trained(outcomes=lost).verdict == (
        "The figures of the PyTorch tab come out for constant, square root and multi-factor; cosine cannot be told "
        "(1 of 3 diverged at update 7)."
    )
    assert trained(seeds=2).verdict == (
        "No verdict on the PyTorch tab's figures: constant, square root, multi-factor and cosine cannot be told "
        "(2 seeds; it takes --seeds 3)."
    )
    assert trained("mxnet").verdict == "No verdict: the MXNet tab prints no figures, so nothing can agree with it."


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"task": "digits, pytorch tab"}, "digits instead of fashion-mnist"),
        (
            {"plan": replace(FULL, samples=3600), "resolution": 1 / 843},
            "3,600 training and 843 test images instead of 60,000 and 10,000",
        ),
        ({"resolution": 1 / 843}, "60,000 training and 843 test images instead of 60,000 and 10,000"),
        ({"plan": replace(FULL, epochs=2)}, "2 epochs instead of 30"),
        ({"plan": replace(FULL, epochs=1)}, "1 epoch instead of 30"),
        ({"plan": replace(FULL, batch_size=64)}, "batches of 64 instead of 256"),
        ({"optimizer": Optimizer(momentum=0.9)}, "sgd(momentum=0.9) instead of sgd()"),
    ],
)
def test_there_is_no_verdict_on_another_run_and_the_reason_is_said(changed: dict[str, Any], why: str) -> None:
    found = trained(**changed)
    assert found.elsewhere == [why]
    assert why in found.verdict
    assert found.verdict.endswith("laju chapter --tab pytorch on the full fashion-mnist gives one.")
    assert all(line.differ is None for line in found.lines())
    assert not {"agrees", "differs"} & set(judgements(found).values())


def test_rates_that_the_tab_did_not_use_are_held_against_no_figure() -> None:
    other = "other rates than its loop's"
    assert list(judgements(trained(as_meant=True)).values()) == ["agrees", other, other, other, "none published"]
    # TensorFlow's loop uses the rates of the text but for its multi-factor scheduler.
    assert list(judgements(trained("tensorflow", as_meant=True)).values())[:4] == ["agrees", "agrees", other, "agrees"]
    assert (
        "come out for constant; square root, multi-factor and cosine cannot be told" in trained(as_meant=True).verdict
    )


def test_the_page_of_the_report_has_the_published_figures() -> None:
    found = trained()
    page = html.page(found.comparison.findings(), elsewhere=found.beside()[2], verdict=found.verdict)
    table = page[page.index("Beside the figures of the PyTorch tab") :].partition("</table>")[0]
    cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table)]
    assert cells[:4] == ["schedule", "verdict", "train loss", "published"]
    assert page.count(escape(found.verdict)) == page.count(f"<h1>{escape(found.verdict)}</h1>") == 1
    assert cells[cells.index("cosine") :][:8] == [
        "cosine",
        "agrees",
        "0.192",
        "0.192",
        "0.930",
        "0.930",
        "0.901",
        "0.901",
    ]
    assert cells[-8:] == ["cosine with warmup", "none published", "0.500", "-", "0.500", "-", "0.500", "-"]
    assert trained("mxnet").beside()[2] is None


def test_the_result_is_plain_json() -> None:
    found = json.loads(json.dumps(trained().to_json(), allow_nan=False))["chapter"]
    assert (found["tab"], found["as_meant"], found["elsewhere"]) == ("pytorch", False, [])
    assert [line["agrees"] for line in found["lines"]] == [True, True, True, True, None]
    assert found["lines"][0]["published"] == vars(TABS["pytorch"].published["constant"])


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["pytorch", "tensorflow"])
def test_full_size_files_and_their_stored_trials_get_a_verdict(shared: Path, tmp_path: Path, tab: str) -> None:
    folder = folder_of(shared / MINI, tmp_path / "full", 60_000, 10_000)
    which = TABS[tab]
    task = which.task(FashionMNIST(folder))
    assert (task.train_size, task.batch_size) == (60_000, 256)
    with Store(tmp_path / "laju.sqlite") as store:
        for name, schedule in which.rates().items():
            for seed in range(3):
                trial = Trial(task, schedule, seed, EPOCHS, 256, framework=which.framework)
                figures = which.published.get(name, Figures(0.5, 0.5, 0.5))
                store.put(trial, outcome(FULL, figures, 0.001 * seed))
    program = [str(Path(sys.executable).with_name("laju")), "chapter", "--tab", tab, "--data-dir", str(folder)]
    done = subprocess.run([*program, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "15 trials, 15 of them in the store already" in done.stderr
    told = json.loads(done.stdout)
    found = told["chapter"]
    assert [line["agrees"] for line in found["lines"]] == [True, True, True, True, None]
    assert told["verdict"].startswith(f"The figures of the {which.title} tab come out for constant, square root")


# --- names -------------------------------------------------------------------------------------------------------------


def test_a_tab_that_does_not_exist_is_told_with_the_nearest() -> None:
    for name, meant in (("pytorhc", "pytorch"), ("torch", "pytorch"), ("TF", "tensorflow"), ("Mxnet", "mxnet")):
        with pytest.raises(ValueError, match=f"tab must be one of pytorch, tensorflow, mxnet, got '{name}'.*'{meant}'"):
            get_tab(name)
    with pytest.raises(ValueError, match=r"got 'jax'$"):
        run("jax", "digits")


def test_the_module_is_imported_without_any_framework() -> None:
    code = "import sys, laju.studies.chapter as c; c.TABS['mxnet'].rates(); assert callable(c.run); "
    code += "assert not {'torch', 'tensorflow', 'keras', 'mxnet'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
