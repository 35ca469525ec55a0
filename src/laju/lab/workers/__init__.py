"""Running trials: the segments to train, where to train, and recovery from lost workers."""

from laju.lab.workers.display import Display
from laju.lab.workers.driver import Driver, TrialsLost
from laju.lab.workers.execution import Execution
from laju.lab.workers.interrupts import Interrupts
from laju.lab.workers.prefixes import Key

__all__ = ["Display", "Driver", "Execution", "Interrupts", "Key", "TrialsLost"]
