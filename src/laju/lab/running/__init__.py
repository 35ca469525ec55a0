"""Running trials: what of them has to be trained, where, and what happens when something goes wrong."""

from laju.lab.running.drive import Driver, TrialsLost, Where
from laju.lab.running.interrupts import Interrupts
from laju.lab.running.stretches import Key
from laju.lab.running.watching import Display

__all__ = ["Display", "Driver", "Interrupts", "Key", "TrialsLost", "Where"]
