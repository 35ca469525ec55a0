import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from laju.cli import cli
from laju.core.units import RunPlan
from laju.lab import Outcome, Record, Store
from laju.lab.statistics import rank
from laju.lab.trials.tasks import DataError, ImageFolder
from laju.studies import Answer, Options, cosine_large, run, sample_pictures, write
from laju.studies.cosine_large import POLICIES

from ..lab.pictures import write_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures") / "shapes", train=8, test=4, easy=True)


def colours(classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(12, classes))


def study(folder: Path, **settings: object) -> Answer:
    options = Options(data_dir=folder, small=True, epochs=3, jobs=1, store=settings.pop("store", None))  # type: ignore[arg-type]
    return run("cosine-large", options, size=16, batch_size=4, **settings)


def test_every_policy_covers_the_whole_run() -> None:
    plan = RunPlan(samples=80, batch_size=8, epochs=20)
    ends = {}
    for policy, make in POLICIES.items():
        values = make(0.1).resolve(plan).values(plan.updates)
        assert values.max() == pytest.approx(0.1)
        ends[policy] = values[-1]
    assert max(ends[name] for name in ("cosine", "cosine with warmup", "linear to zero")) < 0.001
    assert ends["multi-factor"] == pytest.approx(0.001)
    assert ends["square root"] == pytest.approx(0.1 / 20**0.5)
    assert ends["constant"] == 0.1


def test_the_answer_is_made_from_its_own_figures(folder: Path, tmp_path: Path) -> None:
    answer = study(folder, rates=[0.05])
    figures = answer.figures
    assert figures["images"] == {"train": 24, "test": 12}
    assert figures["peak rates"] == dict.fromkeys(POLICIES, 0.05)
    assert "24 images of 3 classes to train with and 12 to test with, 16 × 16 pixels" in answer.text
    assert (
        "3 epochs of 6 updates, 4 images each; sgd(momentum=0.9, weight_decay=0.0001); 2 seeds a policy" in answer.text
    )
    assert "Every policy has the peak rate 0.05: none was tuned" in answer.text

    trials = {(t["schedule"], t["seed"]): t for t in figures["comparison"]["trials"]}
    finished = {policy: [trials[policy, seed]["test_accuracy"] for seed in (0, 1)] for policy in POLICIES}
    assert all(trial["status"] == "finished" for trial in trials.values())
    leads = figures["cosine's lead"]
    (table,) = answer.tables.values()
    for row in table.rows:
        policy = row[0]
        assert row[4] == ", ".join(f"{accuracy:.3f}" for accuracy in finished[policy])
        if policy != "cosine":
            assert leads[policy]["mean"] == pytest.approx((sum(finished["cosine"]) - sum(finished[policy])) / 2)
    assert f"Ahead by test accuracy is {figures['best']['best']}" in answer.text
    files = write(answer, tmp_path)
    assert files[0].name == "answer.md"
    assert json.loads(files[-1].read_text())["classes"] == ["circle", "cross", "square"]
    assert all(file.stat().st_size > 5000 for file in files if file.suffix == ".png")


def test_a_rate_at_which_training_fails_is_not_chosen(folder: Path) -> None:
    answer = study(folder, rates=[0.05, 1e8], mixed_precision="bf16", accumulate=2, cpu=True)
    assert answer.figures["peak rates"] == dict.fromkeys(POLICIES, 0.05)
    assert all(scores["1e+08"] is None for scores in answer.figures["test accuracy by peak rate"].values())
    assert "0.05 for all" in answer.text
    assert (
        "Trained by Accelerate in bf16 where torch's autocast has it, by 1 process, an update's images in 2"
        in answer.text
    )
    assert answer.figures["comparison"]["tuned"]
    assert {"cosine-large", "cosine-large-leads", "cosine-large-rates"} == set(answer.pictures)


def test_there_is_no_answer_where_the_cosine_fails(folder: Path) -> None:
    answer = study(folder, rates=[1e8])
    assert answer.verdict.startswith("There is no answer: with the cosine not every trial finished (")
    assert answer.figures["best"] is None
    assert answer.figures["cosine's lead"] == {}


def test_finished_trials_are_not_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store() as store:
        first = study(folder, model=colours, rates=[0.05], store=store)
        n = len(store)
        monkeypatch.setattr(
            "laju.lab.engines.torch.train", lambda *_: pytest.fail("a finished trial was trained again")
        )
        again = study(folder, model=colours, rates=[0.05], store=store)
        assert len(store) == n == 2 * len(POLICIES)
    assert again.text == first.text


def found(finals: dict[str, list[float]], image: float = 0.01) -> tuple[str, dict[str, object]]:
    """What the study says of trials that ended with these test accuracies, by policy and seed."""
    from laju.lab import Comparison, Optimizer

    outcomes = {
        (policy, seed): Outcome("finished", (Record(3, 1.0, 0.1, 0.5, 0.9, accuracy),), 1.0)
        for policy, accuracies in finals.items()
        for seed, accuracy in enumerate(accuracies)
    }
    n = len(finals["cosine"])
    comparison = Comparison(
        "shapes",
        {policy: POLICIES[policy](0.1) for policy in finals},
        RunPlan(samples=24, batch_size=8, epochs=1),
        Optimizer(),
        tuple(range(n)),
        outcomes,
    )
    accuracies = {policy: dict(enumerate(values)) for policy, values in finals.items()}
    leads = cosine_large._differences(accuracies, image)
    return cosine_large._verdict(comparison, accuracies, leads, image, "laju study cosine-large"), dict(leads)


@pytest.mark.parametrize(
    ("constant", "linear", "begins"),
    [
        ([0.80, 0.81, 0.80], [0.70, 0.71, 0.70], "The cosine is shown to be better than linear to zero (+0.200 ± 0.0"),
        ([0.95, 0.96, 0.95], [0.97, 0.98, 0.97], "The cosine is shown to be worse than linear to zero (-0.070 ± 0.0"),
        ([0.85, 0.95, 0.90], [0.89, 0.92, 0.90], "3 seeds do not tell the cosine from linear to zero ("),
        ([0.80, 0.81, 0.80], [0.89, 0.92, 0.90], "The cosine is shown to be better than constant (+0.100 ± 0.0"),
    ],
)
def test_the_verdict_follows_the_intervals(constant: list[float], linear: list[float], begins: str) -> None:
    text, leads = found({"cosine": [0.90, 0.91, 0.90], "linear to zero": linear, "constant": constant})
    assert text.startswith(begins)
    assert set(leads) == {"linear to zero", "constant"}
    assert text.endswith(": laju study cosine-large --seeds 6.") == ("do not tell" in text)


def test_a_lead_of_one_image_is_none_even_if_every_seed_has_it() -> None:
    finals = {"cosine": [0.90, 0.80, 0.85], "constant": [0.89, 0.79, 0.84]}
    assert found(finals)[0].startswith("3 seeds do not tell the cosine from constant (+0.010 ± ")
    assert found(finals, image=0.001)[0].startswith("The cosine is shown to be better than constant (+0.010 ± ")


def test_one_seed_gives_no_verdict() -> None:
    text, _ = found({"cosine": [0.9], "constant": [0.1]})
    assert text == "1 seed does not tell the cosine from constant (+0.800): laju study cosine-large --seeds 3."


def test_equal_accuracies_are_no_lead_of_rounding() -> None:
    _, leads = found({"cosine": [0.1 + 0.2, 0.5], "constant": [0.3, 0.5]})
    assert leads["constant"].mean == 0  # type: ignore[attr-defined]


# --- ties --------------------------------------------------------------------------------------------------------------


def ends(*figures: tuple[float, float, float]) -> dict[float, cosine_large.End | None]:
    """(peak rate, test accuracy, training loss) of trials."""
    return {peak: cosine_large.End(accuracy, loss) for peak, accuracy, loss in figures}


@pytest.mark.parametrize(
    ("scores", "best", "at_the_edge"),
    [
        (ends((0.1, 1.0, 0.5), (0.2, 1.0, 0.1), (0.3, 1.0, 0.3)), 0.2, False),
        (ends((0.1, 1.0, 0.5), (0.2, 1.0, 0.3), (0.3, 1.0, 0.1)), 0.3, False),  # as good as others, in the test
        (ends((0.1, 1.0, 0.1), (0.2, 1.0, 0.3), (0.3, 0.9, 0.0)), 0.1, False),
        (ends((0.1, 0.8, 0.1), (0.2, 0.9, 0.3), (0.3, 1.0, 0.5)), 0.3, True),
        (ends((0.1, 1.0, 0.9), (0.2, 0.9, 0.3), (0.3, 0.9, 0.5)), 0.1, True),
        ({**ends((0.1, 0.5, 0.9), (0.2, 0.7, 0.8)), 0.3: None}, 0.2, False),
    ],
)
def test_of_equal_test_accuracies_the_lowest_training_loss_is_best_and_no_tie_is_an_edge(
    scores: dict[float, cosine_large.End | None], best: float, at_the_edge: bool
) -> None:
    assert cosine_large._best(scores) == best
    text = cosine_large._rates({"cosine": scores}, {"cosine": best}, 2)
    assert ("at the edge of what was tried" in text) == at_the_edge


def test_larger_rates_are_tried_only_while_the_largest_is_better_than_all_others() -> None:
    from laju.lab import Comparison, Optimizer

    asked = []

    def train(schedules: dict, seeds: list[int]) -> Comparison:
        asked.append(sorted({float(name.rpartition(" ")[2]) for name in schedules}))
        outcomes = {}
        for name in schedules:
            peak = float(name.rpartition(" ")[2])
            record = Record(3, 1.0, peak, 1 / peak, 0.9, min(0.9, peak))  # 0.9 from there on: a tie
            outcomes[name, 2] = Outcome("finished", (record,), 1.0)
        return Comparison("shapes", schedules, RunPlan(samples=24, batch_size=8, epochs=1), Optimizer(), (2,), outcomes)

    tried = cosine_large._tried(train, [0.1, 0.3, 0.8], 2, more=True)  # type: ignore[arg-type]
    assert asked == [[0.1, 0.3, 0.8], [2.4], [7.2]]
    assert {cosine_large._best(scores) for scores in tried.values()} == {7.2}


def test_the_best_policy_of_equal_ones_has_the_lowest_training_loss() -> None:
    equal = {"a": {0: 0.1 + 0.2, 1: 0.5}, "b": {0: 0.5, 1: 0.3}, "c": {0: 0.1, 1: 0.1}}
    for first, ties in (("a", {"a": 1.0, "b": 2.0, "c": 0.0}), ("b", {"a": 2.0, "b": 1.0, "c": 0.0})):
        best = rank(equal, ties=ties)
        assert best is not None
        assert best.best == first


# --- without images of one's own ---------------------------------------------------------------------------------------


def test_the_pictures_are_larger_than_the_digits_and_uneven_and_the_same_every_time(tmp_path: Path) -> None:
    folders = [sample_pictures.write(tmp_path / name) for name in ("a", "b")]
    task, again = (ImageFolder(folder, size=32) for folder in folders)
    assert task.fingerprint == again.fingerprint
    assert (task.classes, task.train_size, len(task.labels("test"))) == (5, 120, 60)
    sizes = []
    for file in task.files("train") + task.files("test"):
        with Image.open(file) as image:
            sizes.append(image.size)
    assert min(min(size) for size in sizes) > 28
    assert len(set(sizes)) > 100


def test_training_and_test_pictures_have_no_pixel_in_common() -> None:
    for _, (left, top, right, bottom), (x, y, x_end, y_end) in sample_pictures._PLACES.values():
        assert right <= x or x_end <= left or bottom <= y or y_end <= top


def test_without_a_folder_a_small_run_goes_through_and_says_what_it_is_worth(tmp_path: Path) -> None:
    options = ("--epochs", "2", "--seeds", "1", "--jobs", "1", "--set", "size=16", "--set", "rates=[0.1]")
    store = ("--store", str(tmp_path / "s.sqlite"), "--out", str(tmp_path / "out"))
    for _ in range(2):
        result = CliRunner().invoke(cli, ["study", "cosine-large", "--small", *options, *store])
        assert result.exit_code == 0, result.output
        assert "This was a smoke run, on 180 parts of the two photographs" in " ".join(result.output.split())
    assert "6 trials, 6 of them in the store already" in result.output  # the second time from the store
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"answer.md", "cosine-large-photographs.png"} <= files
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["smoke run"]
    answer = (tmp_path / "out" / "answer.md").read_text()
    assert "laju study cosine-large --small --seeds 3" in answer
    assert "laju-pictures" not in answer  # the folder of the pictures is gone by now
    assert {trial["status"] for trial in figures["comparison"]["trials"]} <= {"finished", "collapsed"}


def test_the_study_asks_for_a_folder_of_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a folder of images: data_dir, with train/CLASS"):
        run("cosine-large", Options())
    with pytest.raises(DataError, match="has no folder 'train'"):
        run("cosine-large", Options(data_dir=tmp_path))
    result = CliRunner().invoke(
        cli, ["study", "cosine-large", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 2
    assert "has no folder 'train'" in result.output


SMALL = ("study", "cosine-large", "--small", "--epochs", "3", "--seeds", "1", "--jobs", "1", "--set", "size=16")


def test_the_command_takes_the_settings_of_the_study(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("--data-dir", str(folder), "--set", "rates=[0.05]", "--set", "batch_size=4", "--set", "augment=false")
    result = CliRunner().invoke(cli, [*SMALL, *settings])
    assert result.exit_code == 0, result.output
    assert "1 seed does not tell the cosine from" in " ".join(result.output.split())
    page = (tmp_path / "laju-study" / "cosine-large" / "answer.md").read_text()
    assert "16 × 16 pixels" in page
    assert "3 epochs of 6 updates, 4 images each" in page


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "modell=timm:resnet18",
            "study 'cosine-large' has no setting 'modell'; did you mean 'model'? (settings: model, ",
        ),
        ("model", "'model' is not SETTING=VALUE"),
        ("batch_size=many", "batch_size must be a whole number of at least 1, got 'many'"),
        ("processes=0", "processes must be a whole number of at least 1, got 0"),
        ("model=tim:resnet18", "did you mean 'timm'?"),
    ],
)
def test_wrong_settings_are_one_message(folder: Path, tmp_path: Path, setting: str, message: str) -> None:
    out = ("--store", str(tmp_path / "s.sqlite"), "--out", str(tmp_path / "out"))
    result = CliRunner().invoke(cli, [*SMALL, "--data-dir", str(folder), "--set", setting, *out])
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert isinstance(result.exception, SystemExit)


def test_rates_that_are_none_are_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="a rate must be a finite number above 0, got 0"):
        study(folder, rates=[0.1, 0])
    with pytest.raises(ValueError, match="rates must hold at least one peak rate"):
        study(folder, rates=[])
