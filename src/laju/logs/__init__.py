"""Read training logs in the formats of common loggers: updates, learning rates, losses and metrics.

>>> import io
>>> log = read(io.StringIO('{"step": 10, "learning_rate": 0.1}\\n{"step": 20, "learning_rate": 0.05}\\n'))
>>> log.rate().at.tolist(), log.rate().texts
([10.0, 20.0], ('0.1', '0.05'))
"""

from laju.logs.log import Format, Log, LogError, Series, completed
from laju.logs.opening import read

__all__ = ["Format", "Log", "LogError", "Series", "completed", "read"]
