"""fashion-gan train-features"""

import click

from fashion_gan.cli import make_command, number_option
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import load_split
from fashion_gan.files import write_json
from fashion_gan.metrics.evaluator import SHIPPED, Evaluator
from fashion_gan.models.feature_network import WEIGHTS
from fashion_gan.training import feature_networks


@make_command("train-features")
@number_option("--epochs", 10, 1, 1000)
@click.option(
    "--figures",
    is_flag=True,
    help="keep the networks, measure again what real images score and how far they agree",
)
def command(epochs: int, figures: bool) -> None:
    folder = project_root() / "data"
    if not figures:
        train, test = load_split(folder, "train"), load_split(folder, "test")
        feature_networks.train_all(train, test, epochs=epochs)
    agreement = feature_networks.compare_networks(folder)
    write_json(WEIGHTS / "agreement.json", agreement)
    print(
        f"rank correlation of the judge with dev and train over {len(agreement['sets'])} sets:"
        f" {agreement['spearman']}"
    )
    SHIPPED.unlink(missing_ok=True)
    write_json(SHIPPED, Evaluator(folder).reference(10_000))
    print(f"real images: {SHIPPED}")
