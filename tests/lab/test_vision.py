"""timm's and torchvision's own models and pictures, in a process of their own: see `vision.py`."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .pictures import write_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path(os.environ.get("LAJU_VISION", ""), "timm").is_dir(),
        reason="LAJU_VISION names no folder with timm and torchvision; make setup-vision makes one",
    ),
]


def run(script: str, folder: Path, environment: dict[str, str]) -> None:
    root = Path(__file__).parents[2]
    path = os.pathsep.join((environment["PYTHONPATH"], str(root)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)],
        env=environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


WITH_OPERATORS = """
    import sys
    from pathlib import Path
    import numpy as np
    import torch
    from tests.lab import vision
    vision.folder()
    operators = vision.declare()
    import timm, torchvision
    from torchvision import transforms
    from laju.lab import compare
    from laju.studies import Options, run
    from laju.lab.trials.tasks.image_folder import Accelerated, ImageFolder

    folder = Path(sys.argv[1])

    # The listing and the pixels are torchvision's.
    task = ImageFolder(folder, size=32)
    look = transforms.Compose([
        transforms.Resize(37, transforms.InterpolationMode.BILINEAR),
        transforms.CenterCrop(32),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])
    for part, name in (("train", "train"), ("test", "val")):
        theirs = torchvision.datasets.ImageFolder(folder / name, look)
        assert [(Path(file), label) for file, label in theirs.samples] == list(zip(task.files(part), task.labels(part)))
        assert tuple(theirs.classes) == task.class_names
        for i, (image, _) in enumerate(theirs):
            np.testing.assert_allclose(task.image(part, i), image.numpy(), atol=1e-6)

    # Their models are made by name, with weights that the seed gives, and train.
    for model in ("timm:resnet18", "torchvision:mobilenet_v3_small"):
        task = ImageFolder(folder, model, size=32, batch_size=8)
        a, b = (torch.nn.utils.parameters_to_vector(task.model(seed).parameters()) for seed in (3, 3))
        assert torch.equal(a, b)
        task.check()
        how = Accelerated("bf16", accumulate=2, cpu=True)
        found = compare({"constant": 0.01}, task.by(how), epochs=1, seeds=1, jobs=1)
        assert found.trials()[0]["status"] in ("finished", "collapsed"), found.trials()
    assert a.numel() == sum(p.numel() for p in torchvision.models.mobilenet_v3_small(num_classes=3).parameters())

    for model, message in (
        ("timm:resnet81", "timm has no model 'resnet81'; did you mean 'resnet"),
        ("torchvision:resnet81", "torchvision has no model 'resnet81'; did you mean 'resnet"),
    ):
        try:
            ImageFolder(folder, model).check()
        except ValueError as error:
            assert message in str(error), error
        else:
            raise AssertionError(model)

    answer = run("cosine-large", Options(data_dir=folder, small=True, epochs=1, seeds=1, jobs=1), size=32, batch_size=8,
                 model="timm:resnet18", rates=[0.01])
    assert "timm:resnet18" in answer.text and "a model of 11,178,051 parameters" in answer.text, answer.text
    assert len(answer.figures["comparison"]["trials"]) == 6
"""


def test_models_of_timm_and_torchvision_train_on_torchvisions_own_pixels(
    tmp_path: Path, source_environment: dict[str, str]
) -> None:
    run(WITH_OPERATORS, write_folder(tmp_path / "shapes", train=4, test=2), source_environment)


WITHOUT_OPERATORS = """
    import sys
    from tests.lab import vision
    vision.folder()
    from laju.lab.trials.tasks.image_folder import ImageFolder

    for model in ("torchvision:resnet18", "timm:resnet18"):
        try:
            ImageFolder(sys.argv[1], model).check()
        except ImportError as error:
            assert f"model '{model}' needs {model.partition(':')[0]}, which cannot be imported" in str(error), error
            assert "not of a build for this torch" in str(error), error
        else:
            raise AssertionError("this torchvision can be imported: its operators need not be declared any more")
"""


def test_a_torchvision_of_another_torch_is_said_to_be_one(tmp_path: Path, source_environment: dict[str, str]) -> None:
    run(WITHOUT_OPERATORS, write_folder(tmp_path / "shapes", train=4, test=2), source_environment)
