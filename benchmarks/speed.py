"""What the loop costs beside the bare arithmetic, the loader beside torchvision's, and images a
second of the profiles.

    python benchmarks/speed.py

All figures of a ratio come from one process, in turns (A B A B ...), and the median of the turns is
printed: absolute times drift on a shared machine, ratios taken side by side do not.
"""

import contextlib
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import torch
from keep import keep
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import FashionMNIST

from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.data.datasets import Split, load_split
from fashion_gan.models.losses import non_saturating_d, non_saturating_g
from fashion_gan.training import loop
from fashion_gan.training.feature_networks import batches
from fashion_gan.training.frechet import frechet_objectives
from fashion_gan.training.inputs import draw_inputs
from fashion_gan.training.state import TrainingState
from fashion_gan.training.step import StepKind
from fashion_gan.training.stepper import Stepper

TURNS, STEPS = 9, 25
CPU = torch.device("cpu")


def whole_loop(state, split, params, folder):
    """One call runs STEPS steps of the real loop: batches by index, schedules, average, checkpoint
    clock, progress."""
    images = STEPS * params.batch_size
    few = Split(split.images[:images], split.labels[:images])
    trainer = loop.Trainer(state, few, params, folder)

    def turn():
        state.position.batch = 0
        state.position.epoch += 1
        trainer.run_epoch()

    return turn


def bare_arithmetic(state, split, params):
    """The same networks, losses and optimisers on one ready batch: what no loop can do without."""
    real, labels = next(batches(split, params.batch_size, 0, 0, CPU))
    z = torch.randn(params.batch_size, params.latent_dim)
    fake_labels = torch.randint(0, 10, (params.batch_size,))
    G, D = state.generator, state.discriminator

    def turn():
        for _ in range(STEPS):
            fake = G(z, fake_labels)
            loss = non_saturating_d(D(real, labels), D(fake.detach(), fake_labels))
            state.optimizer_d.zero_grad(set_to_none=True)
            loss.backward()
            state.optimizer_d.step()
            D.requires_grad_(False)
            loss = non_saturating_g(None, D(fake, fake_labels))
            state.optimizer_g.zero_grad(set_to_none=True)
            loss.backward()
            state.optimizer_g.step()
            D.requires_grad_(True)

    return turn


def seconds(turn):
    begun = time.perf_counter()
    turn()
    return time.perf_counter() - begun


def compare(a, b, turns=TURNS):
    """Median over the turns of time(a) / time(b), with the smallest and the largest; one turn of
    each is a warm-up."""
    a()
    b()
    ratios = [seconds(a) / seconds(b) for _ in range(turns)]
    return statistics.median(ratios), min(ratios), max(ratios)


def loaders(split, params, folder):
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    theirs = DataLoader(
        FashionMNIST(folder, train=True, transform=transform),
        batch_size=params.batch_size,
        shuffle=True,
    )

    def ours_turn():
        for _ in itertools.islice(batches(split, params.batch_size, 0, 0, CPU), 100):
            pass

    def theirs_turn():
        for _ in itertools.islice(theirs, 100):
            pass

    return ours_turn, theirs_turn


def turn_of(params, split, change=None, around=contextlib.nullcontext, objectives=()):
    """A function that makes STEPS training steps, with the Fréchet loss where there is one.
    `change`: of the state, once. `around`: a context of each turn."""
    state = TrainingState(params)
    if change:
        change(state)
    stepper = Stepper(state, split, params, objectives)
    kind = StepKind(0 if objectives else None)

    def turn():
        order = torch.randperm(len(split))[: STEPS * params.batch_size]
        stepper.load(draw_inputs(params, state.generator.class_count, order, 10**6))
        with around():
            for _ in range(STEPS):
                stepper.run(kind)

    return turn


def profiles(split):
    """Images a second of each profile's steps, in turns."""
    default = read_profile(Path("params/default.yaml")).params
    baseline = read_profile(Path("params/baseline_dcgan.yaml")).params
    objectives = frechet_objectives(split, default, CPU)
    cases = {
        "default, before the Fréchet loss": (default, ()),
        "default, with the Fréchet loss": (default, objectives),
        "baseline_dcgan": (baseline, ()),
    }
    rates = {name: [] for name in cases}
    turns = {
        name: turn_of(params, split, objectives=those) for name, (params, those) in cases.items()
    }
    for number in range(TURNS):
        for name, (params, _) in cases.items():
            taken = seconds(turns[name])
            if number:
                rates[name].append(STEPS * params.batch_size / taken)
    for name, values in rates.items():
        median = statistics.median(values)
        print(f"{name}: {median:,.0f} images/s ({min(values):,.0f} to {max(values):,.0f})")
    return [statistics.median(rates[name]) for name in cases]


def main():
    params = Params()
    folder = Path(params.data_dir)
    split = load_split(folder, "train")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        whole = whole_loop(TrainingState(params), split, params, Path(temporary))
        ratio = compare(whole, bare_arithmetic(TrainingState(params), split, params))
    print("whole training step / bare arithmetic: {:.3f} ({:.3f} to {:.3f})".format(*ratio))
    loader = compare(*loaders(split, params, folder))
    print(
        "our loader / torchvision's DataLoader: 1/{:.0f} (1/{:.0f} to 1/{:.0f})".format(
            *(1 / r for r in loader)
        )
    )
    before, with_frechet, baseline = profiles(split)
    keep(
        "speed",
        "python benchmarks/speed.py",
        step=ratio[0],
        loader=1 / loader[0],
        default_before=before,
        default=with_frechet,
        baseline_dcgan=baseline,
    )


if __name__ == "__main__":
    main()
