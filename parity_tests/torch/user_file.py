"""A user's file. Pyright accepts it, and reports each `ignore` that is not needed.

`test_drop_in.py` runs it, and runs pyright on it in a project of its own.
"""

from __future__ import annotations

import torch
from torch import nn

import resnet_torch

model = resnet_torch.resnet18(num_classes=10, dtype="float32")
for parameter in model.layer1.parameters():
    parameter.requires_grad_(False)
model.conv1 = nn.Conv2d(1, model.conv1.out_channels, 7, stride=2, padding=3, bias=False)
model.avgpool = nn.AdaptiveAvgPool2d(1)
model.fc = nn.Linear(model.fc.in_features, 5)
maps: list[torch.Tensor] = []
model.layer4[-1].conv2.register_forward_hook(lambda _, inputs, output: maps.append(output))
logits: torch.Tensor = model.eval().to("cpu")(torch.zeros(2, 1, 64, 96))
labels = logits.argmax(dim=1).tolist()
names: list[str] = resnet_torch.list_models("*v2*")
backbone = resnet_torch.create_model(names[0], features_only=True, out_indices=(-1,))
channels: int = backbone.feature_info[-1].channels
model.fc = nn.Sequential(nn.Dropout(), nn.Linear(model.fc.in_features, 7))
model.fc = nn.Identity()

if __name__ == "__main__":
    resnet_torch.resnet18(num_clases=10)  # pyright: ignore[reportCallIssue]
    resnet_torch.resnet18(weights="DEFAULT")  # pyright: ignore[reportCallIssue]
    resnet_torch.resnet18(shortcut="D")  # pyright: ignore[reportArgumentType]
