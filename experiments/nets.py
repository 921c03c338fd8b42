"""The networks of Appendices D and J on images of 32 × 32 pixels, with group norm in place of batch norm."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

GROUPS = 4


class Residual(nn.Module):
    """Layers beside their input, which is brought to their shape where it has another."""

    def __init__(self, inner: nn.Module, shortcut: nn.Module | None = None) -> None:
        """Of layers, and what the input goes through beside them."""
        super().__init__()
        self.inner, self.shortcut = inner, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Of images (n, c, h, w)."""
        return nn.functional.relu(self.shortcut(x) + self.inner(x))


def three_convolutions(n_classes: int, widths: tuple[int, int, int] = (16, 32, 64)) -> nn.Module:
    """Three convolutions, each halved in size, and a linear head."""
    layers = [layer for a, b in pairwise((3, *widths)) for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * widths[-1], n_classes))


def perceptron(n_classes: int, n_inputs: int = 3 * 32 * 32) -> nn.Module:
    """Three hidden layers on pixels, as in the published code."""
    widths = (n_inputs, 512, 256, 128)
    return nn.Sequential(
        nn.Flatten(), *(layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())), nn.Linear(128, n_classes)
    )


def resnet_9(n_classes: int, width: int = 64) -> nn.Module:
    """Eight convolutions and a linear head; 64 is the usual width."""
    return nn.Sequential(
        _normed(3, width),
        _normed(width, 2 * width, pool=True),
        Residual(nn.Sequential(_normed(2 * width, 2 * width), _normed(2 * width, 2 * width))),
        _normed(2 * width, 4 * width, pool=True),
        _normed(4 * width, 4 * width, pool=True),
        Residual(nn.Sequential(_normed(4 * width, 4 * width), _normed(4 * width, 4 * width))),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, n_classes),
    )


def resnet_18(n_classes: int, width: int = 64) -> nn.Module:
    """Four stages of two blocks of two convolutions, and a linear head; 64 is the usual width."""
    stages = [_stage(a, b) for a, b in pairwise((width, width, 2 * width, 4 * width, 8 * width))]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, n_classes))
    return nn.Sequential(_normed(3, width), *stages, *head)


def _stage(inputs: int, outputs: int) -> nn.Module:
    stride = 1 if inputs == outputs else 2
    shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    first = Residual(nn.Sequential(_normed(inputs, outputs, stride=stride), _normed(outputs, outputs, end=True)), shortcut)
    return nn.Sequential(first, Residual(nn.Sequential(_normed(outputs, outputs), _normed(outputs, outputs, end=True))))


def _normed(inputs: int, outputs: int, stride: int = 1, pool: bool = False, end: bool = False) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.GroupNorm(GROUPS, outputs)]
    return nn.Sequential(*layers, *([] if end else [nn.ReLU()]), *([nn.MaxPool2d(2)] if pool else []))
