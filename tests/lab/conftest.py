import os
from pathlib import Path

import pytest

import laju.lab.tasks


@pytest.fixture
def shared() -> Path:
    """The folder of data sets that tests may read but the project does not hold."""
    folder = os.environ.get("LAJU_SHARED")
    if not folder:
        pytest.skip("needs real data: set LAJU_SHARED to the folder that holds data/fashion-mnist-mini")
    return Path(folder)


@pytest.fixture
def source_environment() -> dict[str, str]:
    """The environment in which another Python imports the same laju as this one."""
    return os.environ | {"PYTHONPATH": str(Path(laju.lab.tasks.__file__).parents[3])}
