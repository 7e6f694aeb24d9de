import pytest
import torch

from fashion_gan.data import adaptive, augment

pytestmark = pytest.mark.fast


def uniforms(count, width, seed=0):
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed))


def test_flip_mirrors_about_half_of_the_images():
    images = torch.rand(400, 1, 28, 28)
    flipped = augment.augment(images, "flip", uniforms(400, 1))
    mirrored = torch.tensor(
        [torch.equal(a, b.flip(-1)) for a, b in zip(flipped, images, strict=True)]
    )
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(flipped, images, strict=True)])
    assert (mirrored | kept).all()
    assert 150 < mirrored.sum() < 250


def test_translate_moves_each_image_by_its_own_draw():
    images = torch.full((300, 1, 28, 28), -1.0)
    images[:, :, 14, 10] = 1.0
    moved = augment.augment(images, "translate", uniforms(300, 2))
    places = moved.flatten(1).argmax(dim=1)
    rows, columns = places // 28 - 14, places % 28 - 10
    assert rows.unique().tolist() == columns.unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_cutout_blackens_a_square_of_at_most_its_size():
    # a square's middle may lie anywhere, and all of the moved images is bright
    drawn = uniforms(200, 4)
    drawn[:, :2] = 0.5
    cut = augment.augment(torch.ones(200, 1, 28, 28), "translate+cutout", drawn)
    black = (cut == -1).sum(dim=(1, 2, 3))
    assert black.max() <= 14 * 14
    assert black.min() >= 7 * 7
    assert len(black.unique()) > 5


@pytest.mark.parametrize("colours", [1, 3])
def test_the_adaptive_changes_are_as_likely_as_they_are_asked_to_be(colours):
    images = torch.rand(500, colours, 32, 24) * 2 - 1
    assert torch.allclose(adaptive.change(images, uniforms(500, 16), 0.0), images, atol=1e-5)
    for probability in (0.05, 0.3):
        changed = adaptive.change(images, uniforms(500, 16), torch.tensor(probability))
        share = ((changed - images).abs().amax(dim=(1, 2, 3)) > 1e-3).double().mean().item()
        kinds = 6.5 + (colours == 3)  # a half of the mirrored ones stay as they are
        assert share == pytest.approx(1 - (1 - probability) ** kinds, abs=0.06)


@pytest.mark.parametrize("policy", [*augment.AUGMENTATIONS, augment.ADAPTIVE])
def test_policies_are_differentiable_repeatable_and_leave_the_global_generator_alone(policy):
    images = torch.rand(8, 1, 28, 28, requires_grad=True)
    before = torch.get_rng_state()
    drawn = uniforms(8, augment.uniform_count(policy), 3)
    out = augment.augment(images, policy, drawn, 0.5)
    out.sum().backward()
    assert images.grad.abs().sum() > 0
    assert torch.equal(out, augment.augment(images, policy, drawn, 0.5))
    assert torch.equal(before, torch.get_rng_state())
