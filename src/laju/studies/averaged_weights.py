"""The weights of a training run and their averages: evaluations of the last weights, of SWA and of an EMA, and along a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.lab.trials import Outcome, Trial
from laju.lab.trials.tasks import Task

if TYPE_CHECKING:
    import torch

    from laju.lab.engines.loop import Report

DECAY = 0.98
"""The decay of the moving average, which covers the weights of about the last 50 updates."""

LINE = (-0.5, 1.5, 21)
"""The points at which losses are computed: w(α) = (1 - α)·last + α·average, for α from the first to the second number; the third
is the number of points."""

_EVALUATION = 1000


@dataclass(frozen=True)
class Point:
    """A set of weights, evaluated on all of the training data and of the test data."""

    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float


@dataclass(frozen=True)
class Weights:
    """Evaluations of the last weights and of the averages of a single training run.

    Attributes:
        last: the weights after the last update.
        swa: the mean of the weights after the updates in `taken`; None for fewer than two updates.
        ema: the exponential moving average.
        taken: the numbers of completed updates after which SWA takes the weights.
        alphas, line: the points w(α) = (1 - α)·last + α·swa (ema if there is no swa), and the evaluation at each point.
        distance: ‖average - last‖/‖last‖.
    """

    last: Point
    swa: Point | None
    ema: Point
    taken: tuple[int, ...]
    alphas: tuple[float, ...]
    line: tuple[Point, ...]
    distance: float

    def to_json(self) -> dict[str, Any]:
        """The evaluations as values that `json.dumps` accepts."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Weights:
        """Weights from the result of `to_json`."""
        swa = fields["swa"]
        return cls(
            last=Point(**fields["last"]),
            swa=None if swa is None else Point(**swa),
            ema=Point(**fields["ema"]),
            taken=tuple(fields["taken"]),
            alphas=tuple(fields["alphas"]),
            line=tuple(Point(**point) for point in fields["line"]),
            distance=fields["distance"],
        )


def averaged(
    trial: Trial, taken: Sequence[int], report: Report | None = None
) -> tuple[Outcome, Weights | None, dict[str, npt.NDArray[np.float32]]]:
    """Run a trial in torch and keep averages of its weights; `Weights` is None if the trial diverged or collapsed.

    Normalisation statistics are recomputed from the training data for every evaluated set of weights, including the last
    weights, so that nothing but the weights differs.

    Args:
        trial: the trial to run.
        taken: the numbers of completed updates after which SWA takes the weights.
        report: called with every new record.

    Returns:
        The outcome, the evaluated weights, and the parameters themselves, each as a vector: "last", "ema" and, if there is an SWA
        average, "swa".
    """
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from laju.lab.engines.loop import Batch, run
    from laju.lab.engines.torch import Training, one_thread_and_own_randomness

    class Averaging(Training):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            self.swa = AveragedModel(self.model)
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
            self.done = 0

        def update(self, batch: Batch) -> None:
            super().update(batch)
            self.done += 1
            self.ema.update_parameters(self.model)
            if self.done in at:
                self.swa.update_parameters(self.model)

    at = frozenset(taken)
    with one_thread_and_own_randomness():
        training = Averaging(trial)
        outcome = run(trial, training, report)
        if outcome.status != "finished":
            return outcome, None, {}
        models = {"last": training.model, "ema": training.ema.module}
        if int(training.swa.n_averaged) > 1:
            models["swa"] = training.swa.module
        vectors = {name: torch.cat([p.detach().reshape(-1) for p in m.parameters()]) for name, m in models.items()}
        task, data = trial.task, (training.inputs, training.labels, *training.test)
        points = {name: evaluate(model, task, *data) for name, model in models.items()}
        last, average = vectors["last"], vectors.get("swa", vectors["ema"])
        probe, line = training.model, []  # its last weights are in the vector
        alphas = tuple(round(float(a), 12) for a in np.linspace(*LINE))
        for alpha in alphas:
            between = ((1 - alpha) * last + alpha * average).split([p.numel() for p in probe.parameters()])
            with torch.no_grad():  # into the parameters' own layout, which torch's own function would change
                for parameter, values in zip(probe.parameters(), between, strict=True):
                    parameter.copy_(values.view(parameter.shape))
            line.append(evaluate(probe, task, *data))
        distance = float((average - last).norm() / last.norm())
    averages = {name: vector.numpy().copy() for name, vector in vectors.items()}
    taken = tuple(u for u in taken if u <= trial.plan.updates)
    found = Weights(points["last"], points.get("swa"), points["ema"], taken, alphas, tuple(line), distance)
    return outcome, found, averages


def evaluate(
    model: torch.nn.Module,
    task: Task,
    train_inputs: torch.Tensor,
    train_labels: torch.Tensor,
    test_inputs: torch.Tensor,
    test_labels: torch.Tensor,
) -> Point:
    """Mean losses and accuracies, after normalisation statistics, if the model has any, are recomputed on the training inputs."""
    import torch
    from torch.optim.swa_utils import update_bn

    if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        update_bn(train_inputs.split(_EVALUATION), model)
    model.eval()
    found = []
    with torch.inference_mode():
        for inputs, labels in ((train_inputs, train_labels), (test_inputs, test_labels)):
            loss, right = 0.0, 0
            for x, y in zip(inputs.split(_EVALUATION), labels.split(_EVALUATION), strict=True):
                outputs = model(x)
                loss += float(task.loss(outputs, y)) * len(y)
                right += int(task.correct(outputs, y))
            found += [loss / len(labels), right / len(labels)]
    return Point(*found)


def barrier(weights: Weights) -> float:
    """How far the training loss between the two ends of the line rises above the larger end; 0 without a rise."""
    between = [p.train_loss for a, p in zip(weights.alphas, weights.line, strict=True) if 0 <= a <= 1]
    return max(between) - max(between[0], between[-1])


def lowest(weights: Weights, what: str) -> float:
    """The α at which a loss is lowest on the line."""
    values = [getattr(point, what) for point in weights.line]
    return weights.alphas[int(np.argmin(values))]
