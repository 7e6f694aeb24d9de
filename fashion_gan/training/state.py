"""The training state: everything that the next step depends on."""

import copy
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter

from fashion_gan.config.params import Params
from fashion_gan.data.augment import ADAPTIVE
from fashion_gan.data.datasets import dataset_dir, dataset_info
from fashion_gan.device import pick_device
from fashion_gan.distributed.collectives import all_reduce_mean, wrap_ddp
from fashion_gan.errors import UserError
from fashion_gan.files import short_reason
from fashion_gan.models.feature_network import FEATURE_COUNT, HALFWAY_COUNT, frechet_roles
from fashion_gan.models.serialization import make_discriminator, make_generator

MOST_ONE_HOT = 64  # classes
Count = Annotated[int, Field(ge=0)]
Batch = tuple[torch.Tensor, torch.Tensor]  # images (N, C, H, W) and their labels (N,)


def class_codes(class_count: int) -> torch.Tensor:
    """What the Fréchet loss has beside an image's features for each class, (C, width): one-hot, or
    random directions where these would be many: a step takes time by the cube of their number."""
    if class_count <= MOST_ONE_HOT:
        return torch.eye(class_count)
    random = torch.Generator().manual_seed(0)
    codes = torch.randn(class_count, MOST_ONE_HOT, generator=random)
    return codes / codes.norm(dim=1, keepdim=True)


@dataclass
class LoopState:
    """Where the training stands."""

    epoch: Count = 0  # epochs finished
    batch: Count = 0  # batches of the running epoch finished
    images: Count = 0  # real images seen in all
    summed: Count = 0  # batches that the sums of losses are of, since the last validation
    planned_images: Count = 0  # that max_minutes leave room for, where these are fewer; 0: all
    planned_for: tuple[int, float] = (0, 0.0)  # the epochs and minutes that the plan is of
    seconds: float = 0.0  # spent in training steps
    best: float = float("inf")  # lowest distance by the dev network


class RunningMoments(torch.nn.Module):
    """Running mean and covariance of the generator's features, for the Fréchet loss."""

    DECAY = 0.98  # a step; at 0.999 the loss no longer sees a collapse

    def __init__(self, width: int, device: torch.device):
        super().__init__()
        # float64: in float32 the covariance has eigenvalues below zero
        numbers = {"dtype": torch.float64, "device": self.device_for(device)}
        for name, shape in (("mean", (width,)), ("second", (width, width)), ("weight", ())):
            self.register_buffer(name, torch.zeros(shape, **numbers))

    @staticmethod
    def device_for(device: torch.device) -> torch.device:
        """Where they are kept in a training on `device`: MPS has no float64."""
        return torch.device("cpu") if device.type == "mps" else device

    def update(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and covariance with this batch of features (N, d) in; they carry its gradients."""
        features = features.to(self.mean)
        decay = self.DECAY
        batch_mean = all_reduce_mean(features.mean(dim=0))
        batch_second = all_reduce_mean((1 - decay) * features.T @ features / len(features))
        mean = decay * self.mean + (1 - decay) * batch_mean
        second = decay * self.second + batch_second
        # in place: a CUDA graph knows tensors by their addresses
        self.weight.mul_(decay).add_(1 - decay)
        self.mean.copy_(mean.detach())
        self.second.copy_(second.detach())
        mean, second = mean / self.weight, second / self.weight
        return mean, second - torch.outer(mean, mean)


class AdaptiveProbability(torch.nn.Module):
    """The probability of each change of the adaptive augmentation: it rises while the discriminator
    is too sure of real images, a sign of overfitting (Karras et al. 2020, section 3.1: r_t)."""

    TARGET = 0.4  # the mean of sign(D(real)) that it is held at
    INTERVAL = 4  # batches between two changes
    IMAGES = 100_000  # in which it can rise from 0 to 1; the paper's trainings are longer
    MOST = 0.85  # beyond, the generator learns the changes

    def __init__(self, device: torch.device):
        super().__init__()
        self.register_buffer("value", torch.zeros((), device=device))
        self.register_buffer("signs", torch.zeros((), device=device))

    def update(self, right_real: torch.Tensor, is_due: torch.Tensor, batch_size: int) -> None:
        """With the share () of a batch's real images that were taken for real; `is_due` (): whether
        this batch is the last of an interval, after which the probability changes."""
        self.signs += 2 * right_real - 1
        change = (self.signs / self.INTERVAL - self.TARGET).sign() * is_due
        step = batch_size * self.INTERVAL / self.IMAGES
        self.value.add_(step * change).clamp_(0, self.MOST)
        self.signs *= ~is_due


class TrainingState:
    """All that the next step depends on, saved and loaded whole: a resume gives the same bits."""

    # by attribute: the name in a checkpoint
    PARTS = {  # noqa: RUF012
        "generator": "generator",
        "discriminator": "discriminator",
        "ema_generator": "averaged",
        "optimizer_g": "optimizer_g",
        "optimizer_d": "optimizer_d",
        "moments": "moments",
    }

    def __init__(self, params: Params, device: torch.device | None = None):
        self.device = device or pick_device(params.device)
        self.dataset = dataset_info(dataset_dir(params))
        self.network_params = params.model_dump()  # as save_network takes them
        if self.dataset.is_packed:
            self.network_params |= {"shape": self.dataset.shape, "classes": self.dataset.classes}
        # the networks' initial weights are drawn from the global generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            generator = make_generator(self.network_params)
            discriminator = make_discriminator(self.network_params)
        placement = {"device": self.device, "memory_format": torch.channels_last}
        self.generator = generator.to(**placement)
        self.discriminator = discriminator.to(**placement)
        self.ema_generator = copy.deepcopy(self.generator).requires_grad_(False)
        # the networks as a step calls them: of several processes the gradients are averaged
        self.ddp_generator = wrap_ddp(self.generator, params.sync_norm)
        self.ddp_discriminator = wrap_ddp(self.discriminator, params.sync_norm)
        self.optimizer_g = self._adam(self.generator, params.lr_g, params)
        self.optimizer_d = self._adam(self.discriminator, params.lr_d, params)
        width = FEATURE_COUNT + HALFWAY_COUNT
        if params.conditional:
            width += class_codes(len(self.dataset.classes)).shape[1]
        networks = len(frechet_roles(self.dataset, params.frechet_networks))
        moments = [RunningMoments(width, self.device) for _ in range(networks)]
        self.moments = torch.nn.ModuleList(moments)
        self.augment_probability = AdaptiveProbability(self.device)
        self.parts = dict(self.PARTS)
        if params.augment == ADAPTIVE:
            self.parts["augment_probability"] = "augment_probability"
        self.position = LoopState()
        # sums over the epoch: loss of D, loss of G, share right on real, share right on fake
        self.losses = torch.zeros(4, device=self.device)

    def _adam(self, network: torch.nn.Module, lr: float, params: Params) -> torch.optim.Adam:
        kind = self.device.type
        return torch.optim.Adam(
            network.parameters(),
            torch.tensor(lr, device=self.device),  # which a CUDA graph reads in each step
            (params.beta1, params.beta2),
            foreach=False,
            fused=kind in ("cpu", "cuda"),
            capturable=kind == "cuda",
        )

    def state_dict(self) -> dict[str, Any]:
        content = {key: getattr(self, name).state_dict() for name, key in self.parts.items()}
        content["losses"] = self.losses
        content["position"] = vars(self.position).copy()
        return content

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Raises UserError where it is none of such a training."""
        try:
            for name, key in self.parts.items():
                part, values = getattr(self, name), content[key]
                if name == "moments" and "mean" in values:  # of an older one's only network
                    values = {f"0.{field}": value for field, value in values.items()}
                if isinstance(part, torch.optim.Optimizer):
                    _load_moments(part, values)
                else:
                    part.load_state_dict(values)
            self.losses.copy_(content["losses"])
            position = content["position"]
            # in older ones a validation follows each epoch
            position = {"summed": position["batch"], **position}
            self.position = TypeAdapter(LoopState).validate_python(position)
        except Exception as error:  # torch raises many types for what does not fit
            raise UserError(
                f"the checkpoint holds no state of such a training ({short_reason(error)}); take"
                " one that this run wrote"
            ) from None


def _load_moments(optimizer: torch.optim.Adam, content: dict[str, Any]) -> None:
    """Only these: rates and the like follow from the parameters, and from the device. Raises
    ValueError where they do not fit: torch takes any, and fails at the next step."""
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": content["state"], "param_groups": groups})
    for parameter, moments in optimizer.state.items():
        if any(moment.shape not in ((), parameter.shape) for moment in moments.values()):
            raise ValueError("an optimizer's moments are not of its network's size")
