"""The networks of the comparison as PyTorch modules whose tensors have the names that dtrain writes.

torchvision's models by name; the residual networks for 32x32 pictures (He et al. 2016, section 4.2, shortcut option A) and
LeNet-5 are built here, for torchvision does not have them.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
import torchvision
from torch import nn

# dtrain's default normalisation of values in [0, 1], RGB.
MEAN = (0.485, 0.456, 0.406)
STDDEV = (0.229, 0.224, 0.225)

CIFAR_DEPTHS = {f"resnet{depth}": depth for depth in (20, 32, 44, 56, 110)}
IMAGE_SIZES = {"inception_v3": 299}
# What training counts the loss of each auxiliary head: Szegedy et al., CVPR 2015, section 5; TF-slim's inception_v3.
AUX_LOSS_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}
AUX_OUTPUTS = {torchvision.models.GoogLeNetOutputs: "googlenet", torchvision.models.InceptionOutputs: "inception_v3"}
FAMILIES_WITH_DROPOUT = ("alexnet", "vgg", "googlenet", "inception", "squeezenet", "mobilenet")


@dataclass(frozen=True)
class Input:
    """What a network takes and gives by default."""
    channels: int = 3
    size: int = 224
    num_classes: int = 1000


def input_of(name, size=None):
    """With pictures of another side where `size` is given."""
    if name == "lenet5":
        return Input(channels=1, size=size or 28, num_classes=10)
    if name in CIFAR_DEPTHS:
        return Input(size=size or 32, num_classes=10)
    return Input(size=size or IMAGE_SIZES.get(name, 224))


def build(name, num_classes=None, aux_heads=False):
    """A freshly initialised module; the caller seeds torch."""
    num_classes = num_classes or input_of(name).num_classes
    if name == "lenet5":
        return LeNet5(num_classes)
    if name in CIFAR_DEPTHS:
        return CifarResNet(CIFAR_DEPTHS[name], num_classes)
    if name not in torchvision.models.list_models():
        raise SystemExit(f"unknown model {name}: expected lenet5, {', '.join(CIFAR_DEPTHS)} or a model of torchvision")
    options = {"aux_logits": aux_heads, "init_weights": True} if name in AUX_LOSS_WEIGHTS else {}
    return with_relu6_in_bf16(torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options))


def has_dropout(name):
    return name.startswith(FAMILIES_WITH_DROPOUT)


def without_dropout(module):
    """The module itself, which from now on drops nothing: no two programs drop the same activations."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


class ReLU6(nn.ReLU6):
    """PyTorch 1.13 has no gradient of ReLU6 in bfloat16 on CPUs; the one in float32, which it has, is exact for it."""

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype) if x.dtype == torch.bfloat16 else super().forward(x)


def with_relu6_in_bf16(module):
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(parent, name, ReLU6(child.inplace))
    return module


def training_loss(outputs, labels):
    """What training minimises: mean cross-entropy, and the weighted one of each auxiliary head; float32 where logits are bf16."""
    def loss(logits):
        return functional.cross_entropy(logits.float() if logits.dtype == torch.bfloat16 else logits, labels)

    if isinstance(outputs, torch.Tensor):
        return loss(outputs)
    weight = AUX_LOSS_WEIGHTS[AUX_OUTPUTS[type(outputs)]]
    return loss(outputs[0]) + weight * sum(loss(logits) for logits in outputs[1:])


def parameter_groups(module, weight_decay):
    """Weight decay on convolution and linear weights only, as dtrain has it: never on biases and batch-norm."""
    parameters = list(module.parameters())
    return [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]


class CifarBlock(nn.Module):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.padding = stride, (channels - in_channels) // 2

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.padding:  # option A: every second pixel, zero channels on both sides
            x = functional.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(out + x)


class CifarResNet(nn.Module):
    """depth = 6n + 2: a convolution, three stages of n blocks with 16, 32 and 64 channels, a linear layer."""

    def __init__(self, depth, num_classes):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks)
        self.layer2 = self._stage(16, 32, 2, blocks)
        self.layer3 = self._stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(in_channels, channels, stride, blocks):
        first = CifarBlock(in_channels, channels, stride)
        return nn.Sequential(first, *[CifarBlock(channels, channels, 1) for _ in range(blocks - 1)])

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class LeNet5(nn.Module):
    """LeNet-5 as it is trained today: ReLU and max pooling, 28x28 pictures padded by 2."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(functional.relu(self.fc2(x)))
