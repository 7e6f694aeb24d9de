import math

import pytest
import torch

from fashion_gan.models.losses import (
    LOSSES,
    balance_gradients,
    gradient_penalty,
    hinge_d,
    hinge_g,
    non_saturating_d,
    non_saturating_g,
    relativistic_d,
    relativistic_g,
)

pytestmark = pytest.mark.fast

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def softplus(x):
    return math.log1p(math.exp(x))


def test_non_saturating_by_hand():
    d = (softplus(-2) + softplus(1)) / 2 + (softplus(0.5) + softplus(-3)) / 2
    assert non_saturating_d(REAL, FAKE).item() == pytest.approx(d, rel=1e-6)
    assert non_saturating_g(None, FAKE).item() == pytest.approx(
        (softplus(-0.5) + softplus(3)) / 2, rel=1e-6
    )


def test_hinge_by_hand():
    assert hinge_d(REAL, FAKE).item() == pytest.approx((0 + 2) / 2 + (1.5 + 0) / 2)
    assert hinge_g(None, FAKE).item() == pytest.approx(1.25)


def test_relativistic_by_hand():
    assert relativistic_d(REAL, FAKE).item() == pytest.approx(
        (softplus(-1.5) + softplus(-2)) / 2, rel=1e-6
    )
    assert relativistic_g(REAL, FAKE).item() == pytest.approx(
        (softplus(1.5) + softplus(2)) / 2, rel=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_pull_the_right_way(name):
    loss_d, loss_g = LOSSES[name]
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss_d(real, fake).backward()
    assert (real.grad < 0).all()  # the discriminator raises logits of real images
    assert (fake.grad > 0).all()  # and lowers those of fakes
    fake.grad = None
    loss_g(real.detach(), fake).backward()
    assert (fake.grad < 0).all()  # the generator raises them


def test_gradient_penalty_of_a_linear_function_is_half_its_squared_slope():
    slope = torch.randn(1, 28, 28)
    images = torch.randn(5, 1, 28, 28, requires_grad=True)
    logits = (images * slope).sum(dim=(1, 2, 3))
    assert gradient_penalty(logits, images).item() == pytest.approx(
        slope.square().sum().item() / 2, rel=1e-5
    )


def test_blend_scales_the_second_gradient_to_the_first_ones_norm():
    a, b = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 100.0])
    assert torch.allclose(balance_gradients(a, b, 0.5), torch.tensor([3.0, 6.5]))
    # however small it is
    assert torch.allclose(balance_gradients(a, b / 1e6, 0.5), torch.tensor([3.0, 6.5]))
    # one that vanishes adds nothing, and no NaN
    assert torch.equal(balance_gradients(a, 0 * b, 0.5), a)
