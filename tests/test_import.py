import re
import subprocess
import sys

import pytest

import laju


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


def test_what_looks_at_schedules_is_loaded_when_it_is_asked_for():
    code = """
import sys, laju
later = {"laju.inspect.difference", "laju.inspect.lint", "laju.recognition", "laju.tracing"}
assert not later & set(sys.modules)
assert set(laju.__all__) <= set(dir(laju))
print(laju.check(laju.constant(0.1)), laju.diff(laju.constant(0.1), laju.constant(0.1), updates=3).first)
print(laju.recognise(laju.trace(lambda t: 0.1, 5).values(5)).text)
assert later <= set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "constant(0.1)"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CosineAnnealingLR", "in laju that is cosine"),
        ("warmup_cosine_decay_schedule", "in laju that is cosine(…, warmup=N)"),
        ("OneCycleLR", "did you mean 'one_cycle'?"),
        ("recognize", "did you mean 'recognise'?"),
    ],
)
def test_a_name_that_laju_lacks_is_answered_with_the_name_that_laju_has(name, hint):
    with pytest.raises(AttributeError, match=re.escape(hint)):
        getattr(laju, name)
    assert not hasattr(laju, "__no_such_protocol__")
