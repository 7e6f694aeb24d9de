"""A run of version 0.1.0, when the package was one folder and parameters had other names, is read
and goes on: its folder, its checkpoint, its generator, its registered model, a code of its
explorer. tests/before holds it."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, fashion_gan_here

from fashion_gan.catalog.generators import find_generator
from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import RENAMED, Params
from fashion_gan.explorer import codec
from fashion_gan.files import digest, read_json
from fashion_gan.models.feature_network import WEIGHTS
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.models.serialization import GENERATOR
from fashion_gan.report.pages import write_report
from fashion_gan.training.checkpoints import load_latest

BEFORE = ROOT / "tests" / "before"


@pytest.fixture
def old(project):
    """The project, with the old run in it."""
    shutil.copytree(BEFORE / "run", project / "reports" / "before")
    return find_run("before")


def test_the_folder_is_read_and_reported(old):
    stored = read_json(old.folder / "run.json")["params"]
    assert stored.keys() & RENAMED.keys() == RENAMED.keys()
    assert old.params == Params.checked(stored | {"frechet_networks": 1})
    assert old.params.processes == stored["workers"]
    assert old.series("loss_d")[0] == [256, 512]
    page = write_report(old).read_text()
    assert "val_samples" in (old.folder / "MODEL_CARD.md").read_text()
    assert f"{old.read_json('scores')['distance']:.4f}" in page
    accuracy = read_json(WEIGHTS / "features.json")["judge"]["test_accuracy"]
    assert str(accuracy) in page  # though the networks' old path is not there


def test_the_generator_gives_the_same_pictures(old):
    found = find_generator("before")
    pictures = np.load(BEFORE / "pictures.npz")
    images = sample_images(found.generator, 20, 3, balanced_labels(20), 0.9)
    assert np.array_equal(images.numpy(), pictures["images"])
    code = (BEFORE / "code.txt").read_text().strip()
    state = codec.decode(code, codec.model_bits(found), found.generator.latent_dim)
    assert np.array_equal(codec.draw_state(state, found).numpy(), pictures["explored"])
    assert codec.encode(state, codec.model_bits(found)) == code


def test_the_training_goes_on(old):
    assert load_latest(old.folder / "checkpoints")["images"] == 512
    done = fashion_gan_here(
        "resume", "before", "-p", "epochs=3", "-p", "workers=1", cwd=old.folder.parents[1]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    again = find_run("before")
    assert again.info.status == "FINISHED"
    assert again.series("loss_d")[0] == [256, 512, 768]


def test_the_registered_model_is_found_and_loads_its_own_code(old, monkeypatch):
    from fashion_gan.tracking.client import MODEL_NAME, experiment, make_client

    client = make_client()
    run_id = client.create_run(experiment(client).experiment_id).info.run_id
    client.log_artifacts(run_id, str(old.folder / "model"), "model")
    client.create_registered_model(MODEL_NAME)
    client.create_model_version(MODEL_NAME, f"runs:/{run_id}/model", run_id)
    found = find_generator(f"models:/{MODEL_NAME}/1")
    assert found.digest == digest(BEFORE / "run" / GENERATOR)
    code = (
        "import mlflow, pandas as pd, numpy as np, sys;"
        "served = mlflow.pyfunc.load_model(sys.argv[1]);"
        "table = pd.DataFrame({'label': [0, 9], 'seed': [0, 1]});"
        "images = served.predict(table);"
        "import fashion_gan; assert 'model/code' in fashion_gan.__file__, fashion_gan.__file__;"
        "print(images.shape, int(images.sum()))"
    )
    isolated = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f)];"
    )
    words = [sys.executable, "-c", isolated + code, str(old.folder / "model")]
    said = subprocess.run(words, capture_output=True, text=True, cwd=old.folder)
    assert said.returncode == 0, said.stderr
    z = [torch.randn(16, 8, generator=torch.Generator().manual_seed(s))[:1] for s in (0, 1)]
    with torch.no_grad():
        images = found.generator(torch.cat(z), torch.tensor([0, 9]))
    levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert said.stdout.split(" ", 2)[:2] == ["(2,", "28,"]
    assert abs(int(said.stdout.split()[-1]) - int(levels.sum())) <= 2
