"""The generator as MLflow serves it: a model from code. MLflow runs this file when it loads the model."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import torch
from fashion_gan.latent import draw, generate
from fashion_gan.model import load_generator


class ServedGenerator(mlflow.pyfunc.PythonModel):
    """`predict` takes a table with `label` and `seed`, one row an image; gives uint8 (N, H, W), in colour (N, H, W, 3)."""

    def load_context(self, context) -> None:
        self.generator = load_generator(Path(context.artifacts["generator"])).generator

    def predict(self, context, model_input: pd.DataFrame, params=None) -> np.ndarray:
        latents = torch.cat(
            [draw(1, self.generator.latent_dim, int(seed)) for seed in model_input["seed"]]
        )
        labels = torch.tensor(np.asarray(model_input["label"]), dtype=torch.int64)
        return generate(self.generator, latents, labels).movedim(1, -1).squeeze(-1).numpy()


mlflow.models.set_model(ServedGenerator())
