"""Make the data set that parameters name ready to be trained on."""

from collections.abc import Callable
from pathlib import Path

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import COUNTS, FASHION_MNIST, DatasetInfo, dataset_info
from fashion_gan.data.packed import RECORD
from fashion_gan.data.preparation import Preparation
from fashion_gan.errors import UserError
from fashion_gan.files import read_json
from fashion_gan.text import writable_text


def prepare_dataset(params: Params, log: Callable[[str], None] = print) -> Params:
    """The parameters, with data_dir where their data set lies: one of a person's own is packed, and
    has its feature networks trained, once. With the epochs that `images` takes of it. Raises
    UserError where data_dir holds another one."""
    from fashion_gan.data import inspection, pack
    from fashion_gan.training import feature_networks

    preparation = Preparation.parsed(params.image_size, params.fit, params.ground)
    if params.dataset == FASHION_MNIST:
        pack.check_unprepared(params.dataset, preparation)
        return params.with_epochs(COUNTS["train"])

    root = project_root()
    folder = root / params.data_dir
    info = dataset_info(folder)
    if info.is_packed:
        _check_source(params, info, preparation)
    else:
        folder = pack.pack_dataset(params.dataset, folder, log, params.skip_unreadable, preparation)
        inspection.report(folder, read_json(folder / RECORD), log)
    if (count := dataset_info(folder).counts["train"]) < params.batch_size:
        raise UserError(
            f"{params.dataset} has {count} training images, fewer than batch_size"
            f" {params.batch_size}; say -p batch_size={count // 2}"
        )
    feature_networks.train_for(folder, log)
    params = params.with_epochs(count)
    used = min(count, params.subset)
    if params.epochs * used < params.lr_decay_end / 4:
        log(
            f"note: {params.epochs} epochs of {used:,} images are too few for a good model, whose"
            f" learning rates fall until {params.lr_decay_end:,} images; params/own.yaml takes as"
            " many epochs as it needs"
        )
    data_dir = folder.relative_to(root) if folder.is_relative_to(root) else folder
    return params.model_copy(update={"data_dir": str(data_dir)})


def _check_source(params: Params, info: DatasetInfo, preparation: Preparation) -> None:
    """By the last part of the path: the folder may lie elsewhere on this machine."""
    if preparation.contradicts(info.preparation or Preparation()):
        raise UserError(
            f"data_dir {params.data_dir} was packed with another image_size, fit or ground; leave"
            " data_dir out, and it is packed again"
        )
    if Path(info.source).name != Path(writable_text(params.dataset)).name:
        raise UserError(
            f"data_dir {params.data_dir} holds what was packed from {info.source}, not dataset"
            f" {params.dataset}; leave data_dir out, and it is packed"
        )
