"""One step of the discriminator, then one of the generator, as in Goodfellow et al. 2014, with the
Fréchet objective and the moving average. Nothing in it reads a value on the host, so that a GPU
never waits, and the whole of it can be a CUDA graph."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from fashion_gan.config.params import Params
from fashion_gan.data.augment import ADAPTIVE, augment
from fashion_gan.distributed.collectives import all_reduce_mean
from fashion_gan.models.losses import LOSSES, balance_gradients, gradient_penalty
from fashion_gan.training.inputs import StepInputs
from fashion_gan.training.state import Batch, TrainingState

if TYPE_CHECKING:
    from fashion_gan.training.frechet import FrechetObjective


class StepKind(NamedTuple):
    """What a step does that not every step does."""

    network: int | None = None  # that the Fréchet loss looks through, if there is one
    has_penalties: bool = False


def kind_of(images: int, batch: int, params: Params, networks: int) -> StepKind:
    """The kind of the step after so many images, which is this batch of its epoch; `networks`: how
    many the Fréchet loss looks through, one a step."""
    has_frechet = networks and images >= params.frechet_start
    return StepKind(
        images // params.batch_size % networks if has_frechet else None,
        bool(params.r1 or params.r2) and batch % params.penalty_interval == 0,
    )


def apply(
    network: Callable[..., torch.Tensor], *inputs: torch.Tensor, precision: str
) -> torch.Tensor:
    """A network's output, in float32 or more. In bfloat16 some of its layers work in that; losses,
    moments, averages and optimisers never do."""
    is_mixed = precision == "bfloat16"
    # a CUDA graph must not keep copies of weights from one step to the next
    settings = {"enabled": is_mixed, "cache_enabled": False}
    with torch.autocast(inputs[0].device.type, torch.bfloat16, **settings):
        output = network(*inputs)
    return output.float() if is_mixed else output


def discriminator_loss(
    state: TrainingState, real: Batch, fake: Batch, params: Params, has_penalties: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The adversarial loss with the gradient penalties, where they are due, and for the record: the
    adversarial loss alone, and the shares of right verdicts on real and on fake."""
    D = partial(apply, state.ddp_discriminator, precision=params.precision)
    loss_d, _ = LOSSES[params.loss]
    # penalties are taken every `interval` batches, and weigh as much as that many
    weight = params.penalty_interval if has_penalties else 0
    r1 = weight * params.r1
    r2 = weight * params.r2
    for images, _ in (real, fake):
        images.requires_grad_(bool(r1 or r2))
    real_logits = D(*real)
    fake_logits = D(*fake)
    loss = adversarial = loss_d(real_logits, fake_logits)
    if r1:
        loss = loss + r1 * gradient_penalty(real_logits, real[0])
    if r2:
        loss = loss + r2 * gradient_penalty(fake_logits, fake[0])
    right_real = (real_logits > 0).float().mean()
    right_fake = (fake_logits <= 0).float().mean()
    return loss, [adversarial.detach(), right_real, right_fake]


def generator_gradient(
    state: TrainingState,
    real: Batch,
    fakes: tuple[torch.Tensor, Batch],
    params: Params,
    frechet: "FrechetObjective | None",
) -> tuple[torch.Tensor, torch.Tensor]:
    """How the generator's images are to change to be taken for real and to have the features of
    real ones, (N, C, H, W), and the adversarial loss. `fakes`: as they were made, and as the
    discriminator is shown them."""
    fake, shown = fakes
    D = partial(apply, state.discriminator.requires_grad_(False), precision=params.precision)
    logits = D(*shown)
    real_logits = D(real[0].detach(), real[1]) if params.loss == "relativistic" else None
    _, loss_g = LOSSES[params.loss]
    adversarial = loss_g(real_logits, logits)
    (gradient,) = torch.autograd.grad(adversarial, fake)
    state.discriminator.requires_grad_(True)
    if frechet:
        features = apply(frechet.embed, fake, shown[1], precision=params.precision)
        frechet_gradient = frechet.gradient(fake, features, state.moments[frechet.number])
        gradient = balance_gradients(gradient, frechet_gradient, params.frechet_weight)
    return gradient, adversarial.detach()


def step(
    state: TrainingState,
    real: torch.Tensor,
    labels: torch.Tensor,
    inputs: StepInputs,
    params: Params,
    frechet: "FrechetObjective | None" = None,
    has_penalties: bool = False,
) -> None:
    """One step of D, then one of G, on a batch of real images (N, C, H, W) and labels (N,)."""
    for optimizer, lr in ((state.optimizer_d, inputs.lr_d), (state.optimizer_g, inputs.lr_g)):
        optimizer.param_groups[0]["lr"].copy_(lr)
    probability = state.augment_probability.value
    changed = partial(augment, policy=params.augment, probability=probability)
    for_real, for_fake, for_generator = inputs.uniforms
    G = partial(apply, state.ddp_generator, precision=params.precision)
    fake = G(inputs.latents, inputs.labels)

    # the discriminator: tell real from fake
    real_shown = changed(real, uniforms=for_real), labels
    fake_shown = changed(fake.detach(), uniforms=for_fake), inputs.labels
    loss, record_d = discriminator_loss(state, real_shown, fake_shown, params, has_penalties)
    state.optimizer_d.zero_grad()
    loss.backward()
    state.optimizer_d.step()

    # the generator: be taken for real, and have the features of real images
    shown = changed(fake, uniforms=for_generator), inputs.labels
    gradient, adversarial_g = generator_gradient(state, real_shown, (fake, shown), params, frechet)
    state.optimizer_g.zero_grad()
    fake.backward(gradient)
    state.optimizer_g.step()
    update_ema(state, inputs.average_weight)

    adversarial_d, right_real, right_fake = record_d
    # a gradient that is not finite makes weights that are not: it counts as such a loss
    adversarial_g = adversarial_g + 0 * gradient.norm()
    values = all_reduce_mean(torch.stack([adversarial_d, adversarial_g, right_real, right_fake]))
    state.losses += values
    if params.augment == ADAPTIVE:
        is_due = inputs.changes_probability
        state.augment_probability.update(values[2], is_due, params.batch_size)


def update_ema(state: TrainingState, weight: torch.Tensor) -> None:
    """Move the averaged generator towards the running one, whose part is `weight` ()."""
    average = list(state.ema_generator.parameters())
    parameters = [parameter.detach() for parameter in state.generator.parameters()]
    torch._foreach_mul_(average, 1 - weight)
    torch._foreach_add_(average, torch._foreach_mul(parameters, weight))
