"""torchvision and timm in this process, from the folder that `make setup-vision` makes, for tests that run in one of their own.

torchvision has no build for the CPU build of this torch, so its library of operators cannot be loaded. Its models need none of
them; the schemas that its Python part registers implementations for are declared here, or the import would fail.
"""

from __future__ import annotations

import os
import sys

import torch

OPERATORS = (
    "_deform_conv2d_backward",
    "_ps_roi_align_backward",
    "_ps_roi_pool_backward",
    "_roi_align_backward",
    "_roi_pool_backward",
    "deform_conv2d",
    "ps_roi_align",
    "ps_roi_pool",
    "qnms",
    "qroi_align",
    "roi_align",
    "roi_pool",
)


def folder() -> str:
    """The folder, which comes first on the path from now on."""
    path = os.environ["LAJU_VISION"]
    sys.path.insert(0, path)
    return path


def declare() -> torch.library.Library:
    """Declare torchvision's operators; they are there for as long as what is returned."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS:
        library.define(f"{name}(Tensor x) -> Tensor")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
