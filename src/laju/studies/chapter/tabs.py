"""The three tabs of the chapter as records: network, order of data, rates used, and published figures.

The chapter has one text and three tabs of code, which are three experiments: the tabs differ in the network, its initial weights,
the order of the data and the rates that their loops really use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from laju.core.checks import nearest, shown, whole
from laju.core.schedule import Schedule
from laju.dialects import d2l
from laju.policies import constant

if TYPE_CHECKING:
    from laju.lab.trials import Framework
    from laju.lab.trials.tasks import Task

DATA, IMAGES, TEST_IMAGES, EPOCHS, BATCH = "fashion-mnist", 60_000, 10_000, 30, 256
"""The data that every tab trains on, the numbers of images, the epochs and the batch size."""

TRAINED = ("constant", "square root", "multi-factor", "cosine", "cosine with warmup")
"""The training runs of each tab, in order. The chapter plots its factor schedule but trains no network with this schedule."""


@dataclass(frozen=True)
class Figures:
    """How a run ended: mean cross-entropy in nats, and shares between 0 and 1."""

    train_loss: float
    train_accuracy: float
    test_accuracy: float


@dataclass(frozen=True)
class Tab:
    """A tab of the chapter.

    Attributes:
        name: "pytorch", "tensorflow" or "mxnet".
        title: the framework's own spelling.
        framework: the lab's name of the framework in which the tab is trained.
        asked: a sentence that says when the tab's loop asks a scheduler, and the consequence.
        published: the figures that the tab prints, by the name of the run: a single run each, to three decimals.
    """

    name: Literal["pytorch", "tensorflow", "mxnet"]
    title: str
    framework: Framework
    asked: str
    published: Mapping[str, Figures] = field(default_factory=dict)

    def task(self, data: Task) -> Task:
        """The tab's network, initial weights and order of data, on the data of a task."""
        from laju.lab.trials.tasks import tabs

        return {"pytorch": tabs.PyTorchTab, "tensorflow": tabs.TensorFlowTab, "mxnet": tabs.MXNetTab}[self.name](data)

    def rates(self, epochs: int = EPOCHS) -> dict[str, Schedule]:
        """The rates that the tab's loop really uses, by the names of `TRAINED`; per epoch, but per update in MXNet.

        Args:
            epochs: the number of epochs. Before training the tab plots this number of values of each scheduler, which advances
                the multi-factor scheduler.

        >>> TABS["pytorch"].rates()["cosine with warmup"].child.values(4).round(3)
        array([0.3 , 0.  , 0.06, 0.12])
        >>> TABS["tensorflow"].rates()["multi-factor"].child.values(16)[[0, 14, 15]]
        array([0.25 , 0.25 , 0.125])
        """
        epochs = whole("epochs", epochs, least=1)
        used = {
            "constant": constant(0.3),
            "square root": d2l.SquareRootScheduler(0.1, loop=self.name),
            "multi-factor": d2l.MultiFactorScheduler([15, 30], 0.5, 0.5, loop=self.name, plotted=epochs),
            "cosine": d2l.CosineScheduler(20, 0.3, 0.01, loop=self.name),
            "cosine with warmup": d2l.CosineScheduler(20, 0.3, 0.01, warmup_steps=5, loop=self.name),
        }
        return used if self.name == "mxnet" else {name: schedule.per("epoch") for name, schedule in used.items()}


TABS: dict[str, Tab] = {
    tab.name: tab
    for tab in (
        Tab(
            "pytorch",
            "PyTorch",
            "torch",
            "The loop calls a scheduler after the epoch, with the number of that epoch: epoch 0 is trained at the optimizer's "
            "own rate and every later one at the rate of the epoch before. The plot has stepped the multi-factor scheduler once "
            "an epoch, so the training goes on from where the plot ended.",
            {
                "constant": Figures(0.147, 0.944, 0.888),
                "square root": Figures(0.271, 0.902, 0.877),
                "multi-factor": Figures(0.195, 0.926, 0.884),
                "cosine": Figures(0.192, 0.930, 0.901),
            },
        ),
        Tab(
            "tensorflow",
            "TensorFlow",
            "tensorflow",
            "The loop calls a scheduler before the epoch, with the number of that epoch, as the plots do. The multi-factor "
            "scheduler keeps what it has multiplied, so the training goes on from where the plot ended.",
            {
                "constant": Figures(0.209, 0.922, 0.896),
                "square root": Figures(0.386, 0.858, 0.848),
                "multi-factor": Figures(0.238, 0.912, 0.884),
                "cosine": Figures(0.257, 0.906, 0.881),
            },
        ),
        Tab(
            "mxnet",
            "MXNet",
            "mxnet",
            "The trainer asks a scheduler at every minibatch, counted from 1: what the plots show over epochs is over within as "
            "many minibatches. The plot has moved the multi-factor scheduler on.",
        ),
    )
}
"""The tabs by name. The first is the default everywhere."""


def get_tab(name: str) -> Tab:
    """The tab of this name.

    Raises:
        ValueError: an unknown name; the message has the nearest name.

    >>> get_tab("mxnet").title
    'MXNet'
    """
    if name in TABS:
        return TABS[name]
    known = {"torch": "pytorch", "tf": "tensorflow", "keras": "tensorflow", "gluon": "mxnet"}
    text = str(name).lower()
    meant = f", did you mean {known[text]!r}?" if text in known else nearest(text, TABS)
    raise ValueError(f"tab must be one of {', '.join(TABS)}, got {shown(name)}{meant}")
