"""A step as a GPU takes it: no value is read on the host, and a block's inputs are the same for
whoever draws them."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fashion_gan.data.datasets import load_split
from fashion_gan.errors import UserError
from fashion_gan.metrics.distances import symmetric_root
from fashion_gan.training import frechet, graphs
from fashion_gan.training.inputs import BLOCK, draw_inputs
from fashion_gan.training.state import RunningMoments, TrainingState
from fashion_gan.training.step import StepKind
from fashion_gan.training.stepper import Stepper

pytestmark = pytest.mark.fast
CPU = torch.device("cpu")
# operations that wait for a GPU: what they give depends on values, or they copy from the host
WAITING = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::index_fill",
    "aten::index_fill_",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::unique2",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::linalg_inv_ex",
    "aten::lift_fresh",  # torch.tensor(...)
}


class NoHostReads(TorchDispatchMode):
    """Within it, an operation that would wait for a GPU is an error."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in WAITING:
            raise AssertionError(f"{func} waits for the GPU")
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def split(data_dir):
    return load_split(data_dir, "train", 256)


@pytest.mark.parametrize("read", [float, bool, torch.Tensor.nonzero, torch.Tensor.trace])
def test_a_read_on_the_host_is_noticed(read):
    """By the mode itself, in what the steps below must not do."""
    value = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(AssertionError, match="waits"), NoHostReads():
        result = read(value if read is torch.Tensor.trace else value.detach()[:1, :1])
        result.backward()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "hinge", "r1": 1.0, "r2": 1.0},
        {"loss": "relativistic", "d_norm": False, "r1": 1.0},
        {"augment": "translate+cutout"},
        {"augment": "flip"},
        {"augment": "adaptive"},
        {"conditional": False},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_no_step_reads_a_value_on_the_host(tiny, split, monkeypatch, changes):
    monkeypatch.setattr(frechet, "inverse_root_by_eigenvalues", frechet.inverse_root_by_products)
    params = tiny(frechet_weight=2.0, frechet_start=0, **changes)
    state = TrainingState(params)
    objectives = frechet.frechet_objectives(split, params, CPU)
    stepper = Stepper(state, split, params, objectives)
    stepper.load(draw_inputs(params, 10, torch.arange(256), 0))
    # the first one allocates the optimisers' moments
    kinds = [StepKind(network, bool(params.r1)) for network in range(3)]
    stepper.compute(kinds[0])
    weights = state.generator.project.weight.detach().clone()
    with NoHostReads():
        for kind in (*kinds, StepKind()):
            stepper.compute(kind)
    assert stepper.row.item() == 5
    assert torch.isfinite(state.losses).all()
    assert not torch.equal(weights, state.generator.project.weight)


def test_the_networks_of_the_frechet_loss_take_turns(tiny, split):
    """One a step from `frechet_start` on, wherever the training stands; only its moments change."""
    params = tiny(frechet_weight=2.0, frechet_start=128, batch_size=64)
    state = TrainingState(params)
    stepper = Stepper(state, split, params, frechet.frechet_objectives(split, params, CPU))
    networks = [stepper.kind_of(64 * number, number).network for number in range(7)]
    assert networks == [None, None, 2, 0, 1, 2, 0]
    roots = [objective.root for objective in stepper.objectives]
    assert not torch.allclose(roots[0], roots[1])
    stepper.load(draw_inputs(params, 10, torch.arange(256), 0))
    for network in (2, 0):
        stepper.run(StepKind(network))
    assert [bool(moments.weight > 0) for moments in state.moments] == [True, False, True]


def test_one_network_and_none(tiny, split):
    params = tiny(frechet_weight=2.0, frechet_start=0, frechet_networks=1)
    assert len(TrainingState(params).moments) == 1
    objectives = frechet.frechet_objectives(split, params, CPU)
    stepper = Stepper(TrainingState(params), split, params, objectives)
    assert [stepper.kind_of(64 * number, number).network for number in range(3)] == [0, 0, 0]
    without = tiny(frechet_weight=0.0, frechet_start=0)
    assert frechet.frechet_objectives(split, without, CPU) == []
    stepper = Stepper(TrainingState(without), split, without)
    assert stepper.kind_of(10**6, 3) == StepKind()


def test_inputs_depend_on_their_place_alone(tiny):
    params = tiny(augment="translate", batch_size=16)
    order = torch.randperm(16 * 100)
    first, second = (draw_inputs(params, 10, order, 0, (3, block)) for block in (0, 1))
    assert (len(first.index), len(second.index)) == (BLOCK, 100 - BLOCK)
    assert torch.equal(torch.cat([first.index, second.index]).flatten(), order)
    again = draw_inputs(params, 10, order, 0, (3, 1))
    assert all(torch.equal(a, b) for a, b in zip(second, again, strict=True))
    others = [draw_inputs(params, 10, order, 0, place) for place in ((3, 0), (4, 1), (0, 1))]
    others.append(draw_inputs(params.model_copy(update={"seed": 5}), 10, order, 0, (3, 1)))
    latents = [block.latents.flatten()[:16] for block in (second, *others)]
    assert len({tuple(values.tolist()) for values in latents}) == len(latents)
    assert sorted(first.labels.unique().tolist()) == list(range(10))
    assert 0 <= first.uniforms.min() < first.uniforms.max() < 1


def distances_gradient(features, moments, real, inverse_root):
    """The gradient at features (N, d) of the Fréchet loss, with this inverse root, and by the
    distance itself, differentiated through its eigenvalues."""
    features = features.clone().requires_grad_()
    mean, cov = moments.update(features)
    real_mean = real.mean(dim=0)
    root = symmetric_root(torch.cov(real.T))
    middle = (root @ cov @ root).detach()
    identity = torch.eye(len(cov), dtype=torch.float64)
    gradients = 2 * (mean - real_mean).detach(), identity - root @ inverse_root(middle) @ root
    ours = torch.autograd.grad((mean, cov), features, gradients, retain_graph=True)[0]
    values = torch.linalg.eigvalsh(root @ cov @ root)
    cross = values.clamp(min=1e-10 * values.max().item()).sqrt().sum()
    loss = (mean - real_mean).square().sum() + cov.diagonal().sum() - 2 * cross
    return ours, torch.autograd.grad(loss, features)[0]


@pytest.mark.parametrize(
    "inverse_root", [frechet.inverse_root_by_products, frechet.inverse_root_by_eigenvalues]
)
@pytest.mark.parametrize(
    ("steps", "rank"), [(40, 40), (1, 40), (40, 20)], ids=["well-conditioned", "few", "singular"]
)
def test_the_frechet_gradient_is_the_distances(inverse_root, steps, rank):
    """Of features whose variances lie 10,000 apart."""
    rng = torch.Generator().manual_seed(0)
    scales = torch.logspace(-2, 0, 40, dtype=torch.float64)

    def draw(count):
        return scales * torch.randn(count, 40, generator=rng, dtype=torch.float64)

    real = draw(2000) + 0.3
    moments = RunningMoments(40, CPU)
    mixed = torch.linalg.qr(torch.randn(40, 40, generator=rng, dtype=torch.float64))[0]
    for _ in range(steps):
        fake = 1.3 * draw(16) @ mixed
        fake[:, rank:] = 0
        ours, reference = distances_gradient(fake, moments, real, inverse_root)
    assert (ours - reference).norm() < 1e-3 * reference.norm()


def test_a_collapse_has_a_finite_gradient(split):
    """All images the same: the covariance is nothing but rounding."""
    objective = frechet.FrechetObjective(split, True, CPU)
    fake = torch.zeros(32, 1, 28, 28, requires_grad=True)
    labels = torch.zeros(32, dtype=torch.int64)
    moments = RunningMoments(len(objective.mean), CPU)
    for inverse_root in (frechet.inverse_root_by_products, frechet.inverse_root_by_eigenvalues):
        for _ in range(3):
            _, cov = moments.update(objective.embed(fake, labels).detach())
            assert torch.isfinite(inverse_root(cov)).all()
        features = objective.embed(fake, labels)
        assert torch.isfinite(objective.gradient(fake, features, moments)).all()


def test_a_graph_that_is_demanded_where_there_is_none_is_refused(tiny, split):
    with pytest.raises(UserError, match="cuda_graph is on, but the device is cpu"):
        Stepper(TrainingState(tiny()), split, tiny(cuda_graph="on", device="cpu"))
    assert not Stepper(TrainingState(tiny()), split, tiny()).uses_graphs


@pytest.mark.parametrize("steps_before", [0, 3])
def test_a_capture_leaves_the_training_as_it_was(tiny, split, steps_before):
    """What goes before it, on the CPU: at the last row of a block, with moments of the optimisers
    and without."""
    params = tiny(frechet_weight=2.0, augment="adaptive")
    objectives = frechet.frechet_objectives(split, params, CPU)
    kind = StepKind(network=1)
    trained = []
    for is_captured in (True, False):
        state = TrainingState(params)
        stepper = Stepper(state, split, params, objectives)
        stepper.load(draw_inputs(params, 10, torch.arange(256), 0), 7 - steps_before)
        for _ in range(steps_before):
            stepper.compute(kind)
        if is_captured:
            kept = [part.clone() for part in graphs.changing(state, stepper.row)]
            graphs.warm_up(partial(stepper.compute, kind), stepper.row)
            changed = list(graphs.changing(state, stepper.row))
            assert not all(map(torch.equal, kept, changed))
            graphs.restore(kept, state, stepper.row)
        stepper.compute(kind)
        assert stepper.row.item() == 8 == len(stepper.block.index)
        trained.append([part.clone() for part in graphs.changing(state, stepper.row)])
    assert all(map(torch.equal, *trained))
