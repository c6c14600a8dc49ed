"""Random changes of pictures for training, on the scale 0 to 1, before they are standardized.

All randomness comes from PyTorch's generator as it stands, so a seeded step is reproducible.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.config import Augmentation


def augment(images: Tensor, settings: Augmentation) -> Tensor:
    """Randomly changed copies of `images` [N, 1, H, W] in 0 to 1; black where nothing was."""
    if settings.rotate or settings.zoom:
        images = _rotate_and_zoom(images, settings)
    if settings.translate:
        images = _translate(images, settings.translate)
    if settings.flip:
        flipped = torch.rand(len(images)) < 0.5
        images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)
    if settings.erase:
        images = _erase(images, settings.erase)
    return images


def _rotate_and_zoom(images: Tensor, settings: Augmentation) -> Tensor:
    n = len(images)
    angle = (2 * torch.rand(n) - 1) * math.radians(settings.rotate)
    scale = 1 + (2 * torch.rand(n) - 1) * settings.zoom
    cos, sin, zero = torch.cos(angle) / scale, torch.sin(angle) / scale, torch.zeros(n)
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(n, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _translate(images: Tensor, most: int) -> Tensor:
    """Shifts each picture by whole pixels, up to `most` each way."""
    n, _, height, width = images.shape
    padded = F.pad(images, (most, most, most, most))
    rows = torch.randint(2 * most + 1, (n, 1)) + torch.arange(height)  # [N, H]
    columns = torch.randint(2 * most + 1, (n, 1)) + torch.arange(width)  # [N, W]
    index = torch.arange(n).view(n, 1, 1)
    return padded[index, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def _erase(images: Tensor, side: int) -> Tensor:
    """Blackens a square of `side` pixels at a random place; part of it may fall outside."""
    n, _, height, width = images.shape
    top = torch.randint(-side // 2, height - side // 2, (n, 1))
    left = torch.randint(-side // 2, width - side // 2, (n, 1))
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top) & (rows < top + side)  # [N, H]
    inside_columns = (columns >= left) & (columns < left + side)  # [N, W]
    hole = inside_rows[:, :, None] & inside_columns[:, None, :]
    return images.masked_fill(hole.unsqueeze(1), 0.0)
