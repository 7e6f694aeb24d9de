"""What only an NVIDIA GPU can show: a step as a CUDA graph, the same bits again, figures as the CPU
has them."""

import pytest
import torch

from fashion_gan.data.datasets import load_split
from fashion_gan.metrics.evaluator import Evaluator
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.training import loop
from fashion_gan.training.device import be_deterministic
from fashion_gan.training.feature_networks import train_feature_network
from fashion_gan.training.frechet import frechet_objectives
from fashion_gan.training.inputs import draw_inputs
from fashion_gan.training.state import TrainingState
from fashion_gan.training.step import StepKind
from fashion_gan.training.stepper import Stepper

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")


@pytest.fixture(scope="module")
def splits(data_dir):
    return load_split(data_dir, "train", 1024), load_split(data_dir, "validation", 500)


def weights(state):
    return torch.cat([part.detach().flatten() for part in state.generator.parameters()])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "hinge", "r1": 1.0, "r2": 1.0, "d_norm": False},
        {"loss": "relativistic", "r1": 1.0},
        {"augment": "translate+cutout"},
        {"augment": "flip", "conditional": False},
        {"precision": "bfloat16", "r1": 1.0},
    ],
    ids=str,
)
def test_a_graph_takes_the_same_steps_as_one_kernel_after_the_other(tiny, splits, changes):
    """To the bit, with and without the Fréchet loss and penalties."""
    be_deterministic(True, torch.device("cuda"))
    trained = []
    for mode in ("on", "off"):
        params = tiny(device="cuda", cuda_graph=mode, frechet_weight=2.0, **changes)
        state = TrainingState(params)
        objectives = frechet_objectives(splits[0], params, state.device)
        stepper = Stepper(state, splits[0], params, objectives)
        stepper.load(draw_inputs(params, 10, torch.arange(1024), 0))
        for number in range(12):
            network = number // 2 % 2 if number >= 4 else None
            stepper.run(StepKind(network, bool(params.r1) and number % 2 == 0))
        assert len(stepper.graphs) == (0 if mode == "off" else 6 if params.r1 else 3)
        trained.append(weights(state))
    assert torch.equal(*trained)


def test_a_split_that_does_not_fit_is_trained_on_as_well(tiny, splits, monkeypatch):
    trained = []
    for is_room in (True, False):
        monkeypatch.setattr("fashion_gan.training.stepper.is_room_for", lambda *_, r=is_room: r)
        state = TrainingState(tiny(device="cuda"))
        list(loop.train(state, *splits, tiny(device="cuda")))
        trained.append(weights(state))
    assert torch.equal(*trained)


def test_a_resume_has_the_same_bits(tiny, splits, tmp_path):
    params = tiny(device="cuda", checkpoint_seconds=0.01)
    whole = TrainingState(params)
    list(loop.train(whole, *splits, params))
    part = loop.train(TrainingState(params), *splits, params, tmp_path)
    next(part)
    part.close()
    resumed = loop.start_or_resume(params, tmp_path)
    assert 0 < resumed.position.images < whole.position.images
    list(loop.train(resumed, *splits, params, tmp_path))
    assert torch.equal(weights(whole), weights(resumed))


def test_adaptive_augmentation_says_that_it_has_not(tiny, splits, capsys):
    params = tiny(device="cuda", augment="adaptive")
    list(loop.train(TrainingState(params), *splits, params))
    assert "a resume is exact but for the order of sums" in capsys.readouterr().out


def test_images_features_and_figures_are_those_of_the_cpu(tiny, splits, data_dir):
    generator = TrainingState(tiny(device="cpu")).generator.eval()
    labels = balanced_labels(1000)
    images = sample_images(generator, 1000, 0, labels)
    on_gpu = sample_images(generator.to("cuda"), 1000, 0, labels)
    assert (images.int() - on_gpu.int()).abs().max() <= 1
    features = [
        extract_features(load_feature_network("dev", device, data_dir), images)[0]
        for device in ("cpu", "cuda")
    ]
    assert torch.allclose(*features, atol=1e-4)
    scores = [
        Evaluator(data_dir, 1024, "dev", device=device).scores([(images, labels)])
        for device in ("cpu", "cuda")
    ]
    (ours, nearest), (theirs, nearest_on_gpu) = scores
    for name in ("distance", "kernel_distance", "precision", "recall", "label_accuracy"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-3), name
    for name in ("train", "train_features", "own"):
        assert torch.allclose(nearest[name], nearest_on_gpu[name], atol=1e-2), name


def test_feature_networks_are_trained_after_a_deterministic_training(splits):
    """Max pooling has no deterministic gradient there."""
    be_deterministic(True, torch.device("cuda"))
    network = train_feature_network("dev", splits[0], 1, device=torch.device("cuda"))
    assert network.scale.is_cuda
    assert torch.isfinite(network.scale)
