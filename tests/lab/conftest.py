import os
from pathlib import Path

import pytest

import laju.lab.trials.tasks


@pytest.fixture
def source_environment() -> dict[str, str]:
    """The environment in which another Python imports the same laju as this one."""
    return os.environ | {"PYTHONPATH": str(Path(laju.lab.trials.tasks.__file__).parents[4])}
