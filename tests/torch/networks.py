"""Networks of torchvision with random weights, and batch norms that do something."""

from __future__ import annotations

from typing import Any

import torch
import torchvision

DETECTOR = "ssdlite320_mobilenet_v3_large"
SEGMENTER = "fcn_resnet50"
SIZES = {DETECTOR: 320}


def network(name: str) -> torch.nn.Module:
    """Return a network of torchvision; of the detector what comes before its boxes are sorted out."""
    torch.manual_seed(0)
    models: Any = torchvision.models
    if name == DETECTOR:
        whole = models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
        module: torch.nn.Module = _Heads(whole)
    elif name == SEGMENTER:
        module = models.segmentation.fcn_resnet50(weights=None, weights_backbone=None)
    else:
        module = models.get_model(name, weights=None)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.7, 1.5)
            part.weight.data.uniform_(0.5, 1.2)
            part.bias.data.normal_(0, 0.1)
    return module.eval()


def image(name: str, size: int | None = None) -> torch.Tensor:
    """Return an image of the size that a network is made for."""
    size = size or SIZES.get(name, 224)
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


class _Heads(torch.nn.Module):
    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.backbone, self.head = whole.backbone, whole.head

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.head(list(self.backbone(x).values()))
        return found["bbox_regression"], found["cls_logits"]
