import numpy as np
import pytest
import torch
from PIL import Image
from sample import sample_to_file

from fashion_gan import latent, model
from fashion_gan.networks import Generator

pytestmark = pytest.mark.fast


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(8, 8, True).eval()


def test_sampling_is_repeatable_and_the_first_ones_do_not_depend_on_the_count(generator):
    few = latent.sample(generator, 30, 5, latent.balanced_labels(30))
    many = latent.sample(generator, 1200, 5, latent.balanced_labels(1200))
    assert few.dtype == torch.uint8
    assert few.shape == (30, 1, 28, 28)
    assert torch.equal(few, latent.sample(generator, 30, 5, latent.balanced_labels(30)))
    assert (few.int() - many[:30].int()).abs().max() <= 1
    assert not torch.equal(few, latent.sample(generator, 30, 6, latent.balanced_labels(30)))


def test_labels_go_round(generator):
    assert torch.bincount(latent.balanced_labels(1000)).tolist() == [100] * 10
    assert latent.balanced_labels(5, [3, 7]).tolist() == [3, 7, 3, 7, 3]


def test_the_arc_keeps_the_length_and_meets_its_ends():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    walk = latent.spherical(a, b, 5)
    assert torch.allclose(walk[0], a)
    assert torch.allclose(walk[-1], b, atol=1e-6)
    assert torch.allclose(walk.norm(dim=1), torch.full((5,), 2.0))
    assert torch.allclose(walk[2], torch.tensor([2**0.5, 2**0.5]))
    assert torch.allclose(latent.spherical(a, a, 3), a.expand(3, 2))


def test_truncation_scales(generator):
    assert torch.allclose(latent.draw(4, 8, 0, 0.5), 0.5 * latent.draw(4, 8, 0))


@pytest.fixture
def saved(generator, tmp_path):
    params = {"latent_dim": 8, "channels": 8, "conditional": True, "refine": False}
    model.save_network(tmp_path / "g.safetensors", generator, params)
    return tmp_path / "g.safetensors"


def test_npz_and_png(saved, tmp_path):
    said = sample_to_file(str(saved), 25, 1, "bag,9", 1.0, tmp_path / "x.npz")
    assert "25 images" in said
    found = np.load(tmp_path / "x.npz")
    assert (found["images"].dtype, found["images"].shape) == (np.uint8, (25, 28, 28))
    assert (found["labels"].dtype, found["labels"][:3].tolist()) == (np.int64, [8, 9, 8])
    sample_to_file(str(saved), 25, 1, "", 1.0, tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size == (10 * 29 + 1, 3 * 29 + 1)


def test_half_precision_is_at_most_a_grey_level_off(generator, saved, tmp_path):
    params = {"latent_dim": 8, "channels": 8, "conditional": True, "refine": False}
    model.save_network(tmp_path / "half.safetensors", generator, params, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * saved.stat().st_size
    a, b = (
        latent.sample(model.load_generator(p).generator, 50, 0, latent.balanced_labels(50))
        for p in (saved, tmp_path / "half.safetensors")
    )
    assert (a.int() - b.int()).abs().max() <= 1
