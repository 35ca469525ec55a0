"""Running trials: what of them has to be trained, where, and what happens when something goes wrong."""

from laju.lab.workers.display import Display
from laju.lab.workers.driver import Driver, TrialsLost, Where
from laju.lab.workers.interrupts import Interrupts
from laju.lab.workers.prefixes import Key

__all__ = ["Display", "Driver", "Interrupts", "Key", "TrialsLost", "Where"]
