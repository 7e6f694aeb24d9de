import pytest
import torch

from fashion_gan.models.networks import Discriminator, Generator

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("extra_conv", [True, False])
def test_shapes_and_ranges(conditional, extra_conv):
    generator, discriminator = (
        Generator(16, 8, conditional, extra_conv),
        Discriminator(8, conditional),
    )
    labels = torch.tensor([0, 3, 9])
    images = generator(torch.randn(3, 16), labels)
    assert images.shape == (3, 1, 28, 28)
    assert images.abs().max() <= 1
    assert discriminator(images, labels).shape == (3,)


def test_the_class_changes_image_and_verdict():
    generator, discriminator = Generator(16, 8, True).eval(), Discriminator(8, True).eval()
    z = torch.randn(1, 16)
    a, b = (generator(z, torch.tensor([c])) for c in (0, 1))
    assert not torch.equal(a, b)
    assert discriminator(a, torch.tensor([0])) != discriminator(a, torch.tensor([1]))


def test_the_class_bias_is_a_constant_input_channel():
    """Away from the padded edge a channel of ones under a convolution adds the same number
    everywhere: a bias."""
    discriminator = Discriminator(8, True)
    wide = torch.nn.Conv2d(2, 8, 4, 2, 1, bias=False)
    images = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        plain = torch.nn.functional.conv2d(images, wide.weight[:, :1], stride=2, padding=1)
        with_channel = wide(torch.cat([images, torch.ones_like(images)], dim=1))
    bias = wide.weight[:, 1].sum(dim=(1, 2))
    assert torch.allclose(
        (with_channel - plain)[:, :, 1:-1, 1:-1],
        bias[None, :, None, None].expand(2, 8, 12, 12),
        atol=1e-5,
    )
    assert discriminator.class_bias.weight.shape == (10, 8)


def test_the_baseline_is_the_textbooks_size():
    assert (
        sum(p.numel() for p in Generator(100, 64, False).parameters())
        == 100 * 256 * 49 + 2 * 256 + 256 * 128 * 16 + 2 * 128 + 128 * 16 + 1
    )
