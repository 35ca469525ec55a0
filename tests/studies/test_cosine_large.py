import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from laju.cli import cli
from laju.core.units import RunPlan
from laju.lab import Outcome, Record, Store
from laju.lab.tasks import DataError
from laju.studies import Answer, Options, cosine_large, run, write
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
    assert f"The best by mean test accuracy is {figures['best']['best']}" in answer.text
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
    assert "**No answer: with the cosine not every trial finished (" in answer.text
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
    return cosine_large._verdict(comparison, accuracies, leads, image), dict(leads)


@pytest.mark.parametrize(
    ("constant", "linear", "begins"),
    [
        ([0.80, 0.81, 0.80], [0.70, 0.71, 0.70], "**Yes: the cosine is better than linear to zero (+0.200 ± 0.0"),
        ([0.95, 0.96, 0.95], [0.97, 0.98, 0.97], "**No: the cosine is worse than linear to zero (-0.070 ± 0.0"),
        ([0.85, 0.95, 0.90], [0.89, 0.92, 0.90], "**3 seeds do not tell the cosine from linear to zero ("),
        ([0.80, 0.81, 0.80], [0.89, 0.92, 0.90], "**The cosine is better than constant (+0.100 ± 0.0"),
    ],
)
def test_the_verdict_follows_the_intervals(constant: list[float], linear: list[float], begins: str) -> None:
    text, leads = found({"cosine": [0.90, 0.91, 0.90], "linear to zero": linear, "constant": constant})
    assert text.startswith(begins)
    assert set(leads) == {"linear to zero", "constant"}


def test_a_lead_of_one_image_is_none_even_if_every_seed_has_it() -> None:
    finals = {"cosine": [0.90, 0.80, 0.85], "constant": [0.89, 0.79, 0.84]}
    assert found(finals)[0].startswith("**3 seeds do not tell the cosine from constant (+0.010 ± ")
    assert found(finals, image=0.001)[0].startswith("**Yes: the cosine is better than constant (+0.010 ± ")


def test_one_seed_gives_no_verdict() -> None:
    text, _ = found({"cosine": [0.9], "constant": [0.1]})
    assert text.startswith("**No answer: one seed")


def test_equal_accuracies_are_no_lead_of_rounding() -> None:
    _, leads = found({"cosine": [0.1 + 0.2, 0.5], "constant": [0.3, 0.5]})
    assert leads["constant"].mean == 0  # type: ignore[attr-defined]


def test_the_study_asks_for_a_folder_of_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a folder of images: data_dir, with train/CLASS"):
        run("cosine-large", Options())
    with pytest.raises(DataError, match="has no folder 'train'"):
        run("cosine-large", Options(data_dir=tmp_path))
    result = CliRunner().invoke(
        cli, ["study", "cosine-large", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert "has no folder 'train'" in result.output


SMALL = ("study", "cosine-large", "--small", "--epochs", "3", "--seeds", "1", "--jobs", "1", "--set", "size=16")


def test_the_command_takes_the_settings_of_the_study(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("--data-dir", str(folder), "--set", "rates=[0.05]", "--set", "batch_size=4", "--set", "augment=false")
    result = CliRunner().invoke(cli, [*SMALL, *settings])
    assert result.exit_code == 0, result.output
    assert "No answer: one seed gives no intervals" in " ".join(result.output.split())
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
