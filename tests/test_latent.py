import numpy as np
import pytest
import torch
from PIL import Image

from fashion_gan.cli import sample
from fashion_gan.models.latent_space import slerp
from fashion_gan.models.latents import balanced_labels, sample_images, sample_inputs, sample_latents
from fashion_gan.models.networks import Generator
from fashion_gan.models.serialization import load_generator, save_network

pytestmark = pytest.mark.fast


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(8, 8, True).eval()


def test_sampling_is_repeatable_and_the_first_ones_do_not_depend_on_the_count(generator):
    few = sample_images(generator, 30, 5, balanced_labels(30))
    many = sample_images(generator, 1200, 5, balanced_labels(1200))
    assert few.dtype == torch.uint8
    assert few.shape == (30, 1, 28, 28)
    assert torch.equal(few, sample_images(generator, 30, 5, balanced_labels(30)))
    assert (few.int() - many[:30].int()).abs().max() <= 1
    assert not torch.equal(few, sample_images(generator, 30, 6, balanced_labels(30)))


def test_labels_go_round(generator):
    assert torch.bincount(balanced_labels(1000)).tolist() == [100] * 10
    assert balanced_labels(5, [3, 7]).tolist() == [3, 7, 3, 7, 3]


def test_the_arc_keeps_the_length_and_meets_its_ends():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    walk = slerp(a, b, 5)
    assert torch.allclose(walk[0], a)
    assert torch.allclose(walk[-1], b, atol=1e-6)
    assert torch.allclose(walk.norm(dim=1), torch.full((5,), 2.0))
    assert torch.allclose(walk[2], torch.tensor([2**0.5, 2**0.5]))
    assert torch.allclose(slerp(a, a, 3), a.expand(3, 2))


def test_truncation_scales(generator):
    assert torch.allclose(sample_latents(4, 8, 0, 0.5), 0.5 * sample_latents(4, 8, 0))


def test_a_seeds_first_latents_do_not_depend_on_the_count():
    many = sample_latents(100, 7, 3)
    for count in (1, 5, 16, 33):
        assert torch.equal(sample_latents(count, 7, 3), many[:count])


def test_a_generator_gives_its_next_numbers(generator):
    rng = torch.Generator().manual_seed(3)
    expected = torch.Generator().manual_seed(3)
    assert torch.equal(sample_latents(5, 8, rng), torch.randn(5, 8, generator=expected))
    latents, labels = sample_inputs(5, generator, rng, torch.device("cpu"))
    assert torch.equal(latents, torch.randn(5, 8, generator=expected))
    assert torch.equal(labels, torch.randint(0, 10, (5,), generator=expected))


@pytest.fixture
def saved(generator, tmp_path):
    params = {"latent_dim": 8, "channels": 8, "conditional": True, "extra_conv": False}
    save_network(tmp_path / "g.safetensors", generator, params)
    return tmp_path / "g.safetensors"


def test_npz_and_png(saved, tmp_path):
    said = sample.sample_to_file(str(saved), 25, 1, "bag,9", 1.0, tmp_path / "x.npz")
    assert "25 images" in said
    found = np.load(tmp_path / "x.npz")
    assert (found["images"].dtype, found["images"].shape) == (np.uint8, (25, 28, 28))
    assert (found["labels"].dtype, found["labels"][:3].tolist()) == (np.int64, [8, 9, 8])
    sample.sample_to_file(str(saved), 25, 1, "", 1.0, tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size == (10 * 29 + 1, 3 * 29 + 1)


def test_half_precision_is_at_most_a_grey_level_off(generator, saved, tmp_path):
    params = {"latent_dim": 8, "channels": 8, "conditional": True, "extra_conv": False}
    save_network(tmp_path / "half.safetensors", generator, params, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * saved.stat().st_size
    a, b = (
        sample_images(load_generator(p).generator, 50, 0, balanced_labels(50))
        for p in (saved, tmp_path / "half.safetensors")
    )
    assert (a.int() - b.int()).abs().max() <= 1
