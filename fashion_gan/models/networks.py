"""Generators and discriminators of images whose sides are multiples of four."""

import torch
from torch import nn

IMAGE, CLASS_COUNT = (1, 28, 28), 10  # Fashion-MNIST's: colours, height, width


def _init_weights(module: nn.Module) -> None:
    """N(0, 0.02), batch norm's scale N(1, 0.02) (DCGAN, Radford et al. 2016, section 4)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Latents (N, latent_dim), and labels (N,) where conditional, to images (N, C, H, W) in -1..1.

    A linear map to a quarter of the sides, then two transposed convolutions, after DCGAN (Radford
    et al. 2016); `extra_conv` adds a 3x3 convolution at full size. The class enters as a one-hot
    vector beside the latent (Mirza & Osindero 2014).
    """

    def __init__(
        self,
        latent_dim: int = 100,
        channels: int = 64,
        conditional: bool = False,
        extra_conv: bool = False,
        shape: tuple[int, int, int] = IMAGE,
        class_count: int = CLASS_COUNT,
    ):
        super().__init__()
        self.latent_dim, self.channels, self.conditional = latent_dim, channels, conditional
        self.shape, self.class_count = tuple(shape), class_count
        rows, columns = shape[1] // 4, shape[2] // 4
        self.plan = rows, columns  # of the first layer
        inputs = latent_dim + class_count * conditional
        self.project = nn.Linear(inputs, 4 * channels * rows * columns, bias=False)
        last = [nn.ConvTranspose2d(2 * channels, shape[0], 4, 2, 1)]
        if extra_conv:
            last = [
                nn.ConvTranspose2d(2 * channels, channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, shape[0], 3, 1, 1),
            ]
        self.layers = nn.Sequential(
            nn.BatchNorm2d(4 * channels),
            nn.ReLU(),
            # half of the sides
            nn.ConvTranspose2d(4 * channels, 2 * channels, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            *last,  # all of them
            nn.Tanh(),
        )
        self.apply(_init_weights)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if self.conditional:
            # F.one_hot reads the labels on the host
            codes = torch.eye(self.class_count, dtype=latents.dtype, device=latents.device)
            latents = torch.cat([latents, codes[labels]], dim=1)
        return self.grown(self.project(latents))

    def grown(self, hidden: torch.Tensor) -> torch.Tensor:
        """Images of what `project` gave."""
        return self.layers(hidden.view(-1, 4 * self.channels, *self.plan))


class Discriminator(nn.Module):
    """Images (N, C, H, W), and labels (N,) where conditional, to logits (N,): over 0 means real.
    Strided convolutions, after DCGAN. The class enters as input channels, one a class, constant
    over the image: at this size and budget projection (Miyato & Koyama 2018) lost the variety
    within a class, this did not."""

    def __init__(
        self,
        channels: int = 64,
        conditional: bool = False,
        norm: bool = True,
        shape: tuple[int, int, int] = IMAGE,
        class_count: int = CLASS_COUNT,
    ):
        super().__init__()
        self.conditional = conditional
        self.layers = nn.Sequential(
            nn.Conv2d(shape[0], channels, 4, 2, 1),  # half of the sides
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, 2, 1, bias=not norm),  # a quarter
            nn.BatchNorm2d(2 * channels) if norm else nn.Identity(),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 4 * channels, 3, 2, 1, bias=not norm),  # an eighth, rounded up
            nn.BatchNorm2d(4 * channels) if norm else nn.Identity(),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * channels, 1, (-(-shape[1] // 8), -(-shape[2] // 8))),  # (N, 1, 1, 1)
        )
        # A constant input channel under a convolution is a bias (zero padding aside): one bias a
        # class costs less.
        self.class_bias = nn.Embedding(class_count, channels) if conditional else None
        self.apply(_init_weights)
        # as 4x4 taps of N(0, 0.02) on a channel of ones add up; at 1 it drowns the image
        if conditional:
            nn.init.normal_(self.class_bias.weight, 0.0, 0.08)

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        x = self.layers[0](images)
        if self.conditional:
            x = x + self.class_bias(labels)[:, :, None, None]
        return self.layers[1:](x).flatten()
