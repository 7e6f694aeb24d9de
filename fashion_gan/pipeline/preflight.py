"""What can be known to fail is said before a kernel starts."""

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.config.stores import closing_seconds, tracking_uri
from fashion_gan.distributed.ray_cluster import checked_address, import_ray


def preflight(params: Params) -> None:
    """What can be known to fail is said before a kernel starts. Raises UserError."""
    from fashion_gan.catalog.generators import find_generator
    from fashion_gan.data.datasets import dataset_dir, ensure_data
    from fashion_gan.device import pick_device
    from fashion_gan.training.checkpoints import assert_resumable, load_checkpoint

    tracking_uri()
    closing_seconds()
    pick_device(params.device)
    if params.processes > 1:
        import_ray(f"processes={params.processes}")
        checked_address()
    ensure_data(dataset_dir(params))
    if params.model != "auto":
        find_generator(params.model)
    if params.checkpoint:
        assert_resumable(
            load_checkpoint(project_root() / params.checkpoint)["params"], params.model_dump()
        )
