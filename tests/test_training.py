import copy
import itertools
import random

import numpy as np
import pytest
import torch

from fashion_gan import UserError
from fashion_gan.data.datasets import load_split
from fashion_gan.files import read_json
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.latents import sample_inputs
from fashion_gan.models.networks import Generator
from fashion_gan.training import loop, stepper
from fashion_gan.training.checkpoints import load_latest
from fashion_gan.training.inputs import average_weight, draw_inputs, learning_rate_factor
from fashion_gan.training.state import AdaptiveProbability, TrainingState
from fashion_gan.training.step import StepKind, step, update_ema
from fashion_gan.training.stepper import Stepper
from fashion_gan.training.validation import ema_for_eval, validate


@pytest.fixture(scope="module")
def splits(data_dir):
    """So few images of validation that looking at them costs no more than training."""
    return load_split(data_dir, "train", 256), load_split(data_dir, "validation", 200)


def weights(state):
    return {
        f"{name}.{k}": v
        for name in ("generator", "discriminator", "ema_generator")
        for k, v in getattr(state, name).state_dict().items()
    }


def same(a, b):
    return all(torch.equal(v, weights(b)[k]) for k, v in weights(a).items())


def stripped(record):
    """A record without what a clock says."""
    return {k: v for k, v in record.metrics.items() if k not in ("seconds", "images_per_s")}


def run(params, splits, folder=None, state=None):
    state = state or TrainingState(params)
    return state, list(loop.train(state, *splits, params, folder))


@pytest.mark.fast
def test_same_seed_same_weights_metrics_and_pictures_another_seed_others(tiny, splits):
    (a, first), (b, second) = run(tiny(), splits), run(tiny(), splits)
    assert same(a, b)
    assert [stripped(r) for r in first] == [stripped(r) for r in second]
    assert all(torch.equal(x.grid, y.grid) for x, y in zip(first, second, strict=True))
    c, third = run(tiny(seed=1), splits)
    assert not same(a, c)
    assert not torch.equal(first[0].grid, third[0].grid)


@pytest.mark.fast
def test_looking_changes_no_bit_and_no_global_generator_is_touched(tiny, splits):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    a, _ = run(tiny(val_samples=100), splits)
    b, _ = run(tiny(val_samples=300), splits)
    assert same(a, b)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    assert before[2] == random.getstate()


@pytest.mark.fast
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "hinge"},
        {"loss": "relativistic", "r1": 1.0, "r2": 1.0, "d_norm": False},
        {"r1": 1.0, "penalty_interval": 3},
        {"augment": "translate+cutout"},
        {"augment": "adaptive"},
        {"conditional": False, "ema_half_life": 0},
        {"frechet_weight": 0.5, "frechet_start": 64},
        {"lr_decay_end": 500, "lr_decay_start": 100},
    ],
    ids=str,
)
def test_every_recipe_trains_and_resumes_to_the_same_bits(tiny, splits, tmp_path, changes):
    params = tiny(**changes)
    whole, records = run(params, splits)
    assert len(records) == 3
    assert all(np.isfinite(list(r.metrics.values())).all() for r in records)
    part = loop.train(TrainingState(params), *splits, params, tmp_path)
    next(part), next(part)
    # as when the process dies: what is there is the checkpoint after the first epoch, or a later
    # one
    part.close()
    resumed = loop.start_or_resume(params, tmp_path)
    assert 256 <= resumed.position.images < 768
    rest = list(loop.train(resumed, *splits, params, tmp_path))
    assert same(whole, resumed)
    assert [stripped(r) for r in rest] == [stripped(r) for r in records[-len(rest) :]]


@pytest.mark.fast
def test_an_epoch_whose_record_was_not_logged_is_made_again(tiny, splits, tmp_path):
    """The loop's body fails between the record and the checkpoint: a resume gives that record once
    more."""
    params = tiny(checkpoint_seconds=1000.0)
    part = loop.train(TrainingState(params), *splits, params, tmp_path)
    first, lost = next(part), next(part)
    part.close()
    again = loop.train(loop.start_or_resume(params, tmp_path), *splits, params, tmp_path)
    assert stripped(next(again)) == stripped(lost)
    assert first.epoch == 1
    again.close()


@pytest.mark.fast
def test_a_step_that_fails_leaves_no_half_step_behind(tiny, splits, tmp_path, monkeypatch):
    params, count = tiny(checkpoint_seconds=1000.0), itertools.count()
    whole, _ = run(params, splits)
    trained = TrainingState(params)

    def failing(state, *args):
        step(state, *args)
        if state is trained and next(count) == 12:
            raise MemoryError("in the middle of a step")

    monkeypatch.setattr(stepper, "step", failing)
    with pytest.raises(MemoryError):
        run(params, splits, tmp_path, trained)
    monkeypatch.undo()
    resumed = loop.start_or_resume(params, tmp_path)
    assert resumed.position.images == 256
    list(loop.train(resumed, *splits, params, tmp_path))
    assert same(whole, resumed)


@pytest.mark.fast
def test_a_nan_in_the_frechet_loss_is_said_in_one_line_too(tiny, splits, tmp_path, monkeypatch):
    params = tiny(frechet_weight=0.5, frechet_start=64)
    state = TrainingState(params)
    with torch.no_grad():
        state.generator.project.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="NaN or infinite"):
        run(params, splits, tmp_path, state)


@pytest.mark.fast
def test_an_interrupt_in_mid_epoch_saves_a_whole_step_and_resumes_to_the_same_bits(
    tiny, splits, tmp_path, monkeypatch
):
    import signal

    params = tiny(checkpoint_seconds=1000.0)
    whole, records = run(params, splits)
    count = itertools.count()

    def stopping(*args):
        if args[0] is state and next(count) == 11:
            signal.raise_signal(signal.SIGINT)  # in the middle of a step
        return step(*args)

    monkeypatch.setattr(stepper, "step", stopping)
    state = TrainingState(params)
    with pytest.raises(KeyboardInterrupt):
        list(loop.train(state, *splits, params, tmp_path))
    assert state.position.images == 12 * 32
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = loop.start_or_resume(params, tmp_path)
    assert (resumed.position.epoch, resumed.position.batch) == (1, 4)
    rest = list(loop.train(resumed, *splits, params, tmp_path))
    assert same(whole, resumed)
    assert [stripped(r) for r in rest] == [stripped(r) for r in records[1:]]


def test_epochs_between_two_validations_give_the_same_weights_and_resume(tiny, splits, tmp_path):
    each, _ = run(tiny(epochs=5), splits)
    params = tiny(epochs=5, validation_interval=2)
    some, records = run(params, splits)
    assert same(each, some)
    assert [r.epoch for r in records] == [2, 4, 5]
    # killed in the epoch that no validation follows
    part = loop.train(TrainingState(params), *splits, params, tmp_path)
    next(part)
    part.close()
    resumed = loop.start_or_resume(params, tmp_path)
    assert resumed.position.summed > 0
    rest = list(loop.train(resumed, *splits, params, tmp_path))
    assert [stripped(r) for r in rest] == [stripped(r) for r in records]


@pytest.mark.fast
def test_the_adaptive_probability_follows_the_discriminator():
    sure, unsure = torch.tensor(0.95), torch.tensor(0.6)
    probability = AdaptiveProbability(torch.device("cpu"))

    def update(share, batches):
        for batch in range(batches):
            is_last = (batch + 1) % probability.INTERVAL == 0
            probability.update(share, torch.tensor(is_last), 100)

    update(sure, 80)
    assert probability.value.item() == pytest.approx(0.08)
    update(unsure, 40)
    assert probability.value.item() == pytest.approx(0.04)
    update(sure, 2000)
    assert probability.value.item() == pytest.approx(probability.MOST)


@pytest.mark.fast
def test_the_adaptive_probability_counts_batches_over_all_epochs(tiny, splits, monkeypatch):
    due = []

    def update(self, right_real, is_due, batch_size):
        due.append(bool(is_due))

    monkeypatch.setattr(AdaptiveProbability, "update", update)
    run(tiny(augment="adaptive", batch_size=40, epochs=2), splits)  # 6 batches an epoch
    assert due == [False, False, False, True] * 3


@pytest.mark.fast
def test_an_older_checkpoint_in_mid_epoch_is_validated_as_before(tiny, splits, tmp_path):
    params = tiny(checkpoint_seconds=0.01)
    _, records = run(params, splits)
    part = loop.train(TrainingState(params), *splits, params, tmp_path)
    next(part)
    part.close()
    content = load_latest(tmp_path / "checkpoints")["state"]
    batch = content["position"]["batch"]
    del content["position"]["summed"]
    state = TrainingState(params)
    state.load_state_dict(content)
    assert state.position.summed == batch > 0
    _, rest = run(params, splits, state=state)
    assert [stripped(r) for r in rest] == [stripped(r) for r in records]


@pytest.mark.fast
def test_more_epochs_on_a_finished_training_equal_a_longer_one(tiny, splits, tmp_path):
    whole, _ = run(tiny(epochs=4), splits)
    run(tiny(epochs=2), splits, tmp_path)
    longer = loop.start_or_resume(tiny(epochs=4), tmp_path)
    list(loop.train(longer, *splits, tiny(epochs=4), tmp_path))
    assert same(whole, longer)


@pytest.mark.fast
def test_a_loss_that_is_not_finite_stops_with_one_line_and_keeps_the_last_good_checkpoint(
    tiny, splits, tmp_path, monkeypatch
):
    params, count = tiny(checkpoint_seconds=0.01), itertools.count()

    def poison(state, *args):
        step(state, *args)
        if next(count) == 12:
            state.losses += float("nan")

    monkeypatch.setattr(stepper, "step", poison)
    with pytest.raises(UserError, match="NaN or infinite") as error:
        run(params, splits, tmp_path)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert torch.isfinite(load_latest(tmp_path / "checkpoints")["state"]["losses"]).all()


@pytest.mark.fast
def test_max_minutes_stops_after_a_whole_step(tiny, splits, tmp_path):
    params = tiny(epochs=1000, max_minutes=0.02)
    state, records = run(params, splits, tmp_path)
    assert state.position.images > 0
    assert state.position.epoch < 1000
    assert load_latest(tmp_path / "checkpoints")["images"] == state.position.images
    assert len(records) == state.position.epoch


def test_max_minutes_plan_the_schedule(tiny, splits, tmp_path, monkeypatch):
    """As many epochs as there is time for, by a speed that is measured: the learning rates fall
    over these, and a resume keeps to the plan."""
    monkeypatch.setattr(loop.Trainer, "trial_speed", lambda _: 100.0)  # images a second
    schedule = {"lr_decay_start": 0, "lr_decay_end": 256 * 30, "checkpoint_seconds": 1000.0}
    params = tiny(epochs=30, max_minutes=0.15, **schedule)
    state = TrainingState(params)
    first = loop.train(state, *splits, params, tmp_path)
    next(first), next(first)
    first.close()
    assert state.position.planned_images == 800  # in 8.1 seconds
    resumed = loop.start_or_resume(params, tmp_path)
    rest = list(loop.train(resumed, *splits, params, tmp_path))
    assert (rest[-1].epoch, rest[-1].images, rest[-1].total_images) == (4, 800, 800)
    last = resumed.optimizer_g.param_groups[0]["lr"].item() / params.lr_g
    assert last == pytest.approx(learning_rate_factor(30 * 256 * 24 // 25, params), abs=0.01)
    assert read_json(tmp_path / "progress.json")["epochs"] == 4
    # it is done, and stays so
    assert not list(loop.train(loop.start_or_resume(params, tmp_path), *splits, params, tmp_path))
    more = params.model_copy(update={"epochs": 5, "max_minutes": 0.0})
    on = list(loop.train(loop.start_or_resume(more, tmp_path), *splits, more, tmp_path))
    assert [(r.epoch, r.images) for r in on] == [(5, 800 + 256)]
    # killed after the last batch, before what its validation says is kept
    ended = tiny(epochs=30, max_minutes=0.15, **schedule | {"checkpoint_seconds": 0.01})
    part = loop.train(TrainingState(ended), *splits, ended, tmp_path / "ended")
    records = [next(part) for _ in range(4)]
    part.close()
    state = loop.start_or_resume(ended, tmp_path / "ended")
    again = list(loop.train(state, *splits, ended, tmp_path / "ended"))
    assert [stripped(r) for r in again] == [stripped(records[-1])]
    # there is time for all of it: as without a limit
    whole, _ = run(tiny(), splits)
    limited, _ = run(tiny(max_minutes=1.0), splits, tmp_path / "limited")
    assert limited.position.planned_images == 0
    assert same(whole, limited)


@pytest.mark.fast
def test_how_long_it_takes_is_said_before_it_begins(tiny, splits, tmp_path, monkeypatch):
    params = tiny()
    state, said = TrainingState(params), []

    def saying(trained, *args):
        if trained is state and not said:
            said.append(read_json(tmp_path / "progress.json"))
        return step(trained, *args)

    monkeypatch.setattr(stepper, "step", saying)
    run(params, splits, tmp_path, state)
    (progress,) = said
    assert progress["images"] == 0
    assert "loss_d" not in progress  # none has been taken
    assert progress["seconds_left"] == pytest.approx(768 / progress["images_per_s"])
    assert 1 < progress["images_per_s"] < 1e6


@pytest.mark.fast
def test_two_processes_do_not_train_in_one_folder(tiny, splits, tmp_path):
    first = loop.train(TrainingState(tiny()), *splits, tiny(), tmp_path)
    next(first)
    with pytest.raises(UserError, match="another process trains"):
        next(loop.train(TrainingState(tiny()), *splits, tiny(), tmp_path))
    first.close()


@pytest.mark.fast
def test_the_average_follows_with_its_half_life(tiny):
    params = tiny(ema_half_life=64)
    state = TrainingState(params)
    start = [p.clone() for p in state.ema_generator.parameters()]
    with torch.no_grad():
        for p in state.generator.parameters():
            p += 1.0
    weight = average_weight(10**6, params)  # far past the ramp
    for _ in range(2):  # two batches of 32 images are one half-life
        update_ema(state, torch.tensor(weight))
    for now, old in zip(state.ema_generator.parameters(), start, strict=True):
        assert torch.allclose(now, old + 0.5, atol=1e-5)


@pytest.mark.fast
def test_without_a_half_life_the_average_is_the_generator(tiny, splits):
    state, _ = run(tiny(ema_half_life=0, epochs=1), splits)
    assert all(
        torch.equal(a, b)
        for a, b in zip(state.ema_generator.parameters(), state.generator.parameters(), strict=True)
    )


@pytest.mark.fast
def test_the_averaged_generator_has_statistics_of_its_own_weights(tiny, splits):
    params = tiny()
    state, _ = run(params, splits)
    network = ema_for_eval(state, params, images=4000)
    assert not network.training
    rng = torch.Generator().manual_seed(9)
    z, labels = sample_inputs(2000, state.generator, rng, state.device)
    inputs = []
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.register_forward_hook(lambda m, i, o: inputs.append(i[0]))
    network(z, labels)
    assert torch.allclose(
        norm.running_mean, inputs[0].mean(dim=(0, 2, 3)), atol=0.1 * inputs[0].std().item()
    )


@pytest.mark.fast
def test_learning_rates_fall_to_a_twentieth(tiny):
    params = tiny(lr_decay_start=100, lr_decay_end=300)
    found = [round(learning_rate_factor(i, params), 3) for i in (0, 100, 200, 300, 10_000)]
    assert found == [1.0, 1.0, 0.5, 0.05, 0.05]
    assert learning_rate_factor(10**9, tiny(lr_decay_start=0, lr_decay_end=0)) == 1.0


def test_training_learns_something(tiny, splits, data_dir):
    """A few hundred steps bring the distance far below the untrained generator's."""
    train = load_split(data_dir, "train", 4000)
    params = tiny(channels=8, latent_dim=16, epochs=3, subset=4000, val_samples=200)
    state = TrainingState(params)
    seen = {
        role: extract_features(load_feature_network(role), splits[1].images)[0]
        for role in ("dev", "train")
    }
    before = validate(state, splits[1], seen, params)[0]["validation_distance"]
    _, records = run(params, (train, splits[1]), state=state)
    assert records[-1].metrics["validation_distance"] < 0.5 * before


@pytest.mark.fast
def test_a_step_on_a_copy_does_not_touch_the_original(tiny, splits):
    params = tiny()
    state = TrainingState(params)
    trial = copy.deepcopy(state)
    steps = Stepper(trial, splits[0], params)
    steps.load(draw_inputs(params, 10, torch.arange(256), 0))
    steps.run(StepKind())
    assert same(state, TrainingState(params))
    assert not same(state, trial)


@pytest.mark.fast
def test_export_takes_the_best_checkpoint(tiny, splits, tmp_path):
    from fashion_gan.models.serialization import GENERATOR, load_discriminator, load_generator

    params = tiny()
    _, records = run(params, splits, tmp_path)
    best = min(records, key=lambda r: r.metrics["validation_distance"]).epoch
    assert loop.export_best(params, tmp_path) == best
    found = load_generator(tmp_path / GENERATOR)
    assert isinstance(found.generator, Generator)
    assert load_discriminator(tmp_path) is not None
