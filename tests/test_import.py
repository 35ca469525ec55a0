import subprocess
import sys


def test_importing_laju_loads_numpy_and_nothing_heavy():
    code = "import sys, laju; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {"laju", "numpy"} <= loaded
    heavy = {
        "torch",
        "jax",
        "tensorflow",
        "keras",
        "mxnet",
        "paddle",
        "matplotlib",
        "plotext",
        "scipy",
        "sklearn",
        "pandas",
    }
    assert not loaded & (heavy | {"sqlalchemy", "joblib", "rich", "jinja2", "click"})
