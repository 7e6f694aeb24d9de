import json
import os
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import torch

from fashion_gan import UserError
from fashion_gan.catalog.generators import find_generator
from fashion_gan.config.params import Params
from fashion_gan.config.stores import tracking_uri
from fashion_gan.files import digest
from fashion_gan.models.latents import generate_images, sample_latents
from fashion_gan.models.serialization import GENERATOR, load_generator, save_network
from fashion_gan.runs.create import create_run
from fashion_gan.tracking import mlflow_sync, registry
from fashion_gan.tracking.client import MODEL_NAME, make_client


@pytest.fixture
def run(project):
    from test_sync import fill

    run = create_run(Params(), name="r1", profile="smoke")
    fill(run, 1.0)
    run.finish()
    return run


def test_it_is_found_by_run_path_file_and_folder(run, project):
    digests = {
        find_generator(str(w)).digest for w in ("r1", "latest", run.folder, run.folder / GENERATOR)
    }
    assert len(digests) == 1
    assert find_generator("auto").source == "the newest finished run, r1"
    assert find_generator("auto", own=run.folder).source == "this run, r1"


def test_the_pyfunc_loads_without_pickle_and_without_the_package(run, tmp_path):
    """In another process that has neither this project's folder nor its installed package on its
    path."""
    folder = registry.save_pyfunc(run)
    assert not [p for p in folder.rglob("*") if p.suffix in (".pkl", ".pickle")]
    code = f"""
import sys
def name(finder):
    parts = [getattr(finder, key, "") for key in ("__module__", "__name__")]
    return " ".join([type(finder).__name__, *parts]).lower()
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in name(finder)]
try:
    import fashion_gan
    raise SystemExit("the package is still there")
except ImportError:
    pass
import mlflow, pandas as pd, numpy as np
loaded = mlflow.pyfunc.load_model({str(folder)!r})
images = loaded.predict(pd.DataFrame({{"label": [3, 3, 9], "seed": [1, 2, 1]}}))
import fashion_gan
assert {str(folder)!r} in fashion_gan.__file__, fashion_gan.__file__
np.save("images.npy", images)
"""
    env = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    images = np.load(tmp_path / "images.npy")
    assert (images.shape, images.dtype) == ((3, 28, 28), np.uint8)
    generator = load_generator(run.folder / GENERATOR).generator
    expected = generate_images(
        generator, torch.cat([sample_latents(1, 8, s) for s in (1, 2, 1)]), torch.tensor([3, 3, 9])
    )
    assert np.array_equal(images, expected.squeeze(1).numpy())


@pytest.mark.parametrize(
    "harm", [lambda c: c[: len(c) // 2], lambda c: b"hello", lambda c: b"", lambda c: b"\xff" * 100]
)
def test_damaged_files_are_refused_in_one_line(run, tmp_path, harm):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(harm((run.folder / GENERATOR).read_bytes()))
    with pytest.raises(UserError, match=r"no model of fashion-gan, or it is damaged") as error:
        load_generator(path)
    assert "\n" not in str(error.value)


def test_a_run_without_a_generator_says_how_to_go_on(project):
    create_run(Params(), name="young")
    with pytest.raises(UserError, match="fashion-gan resume young"):
        find_generator("young")


def test_what_is_nowhere(project):
    with pytest.raises(UserError, match="no model 'nothing'"):
        find_generator("nothing")
    with pytest.raises(UserError, match="no model models:/fashion-gan@champion in MLflow"):
        find_generator("models:/fashion-gan@champion")


def test_equal_networks_have_equal_files(run, tmp_path):
    again = load_generator(run.folder / GENERATOR)
    digests = set()
    for i in range(8):
        save_network(tmp_path / f"{i}.safetensors", again.generator, again.params)
        digests.add(digest(tmp_path / f"{i}.safetensors"))
    assert len(digests) == 1


def test_the_registered_model_answers_a_request_with_images(run, project):
    """`mlflow models serve` on the champion, asked with the model's own input example."""
    from conftest import wait_until
    from ports import free_port

    mlflow_sync.sync(run)
    version = make_client().get_model_version_by_alias(MODEL_NAME, "champion")
    assert version.run_id == run.copy()["run_id"]
    assert version.tags["distance"] == "1.0"
    port = free_port()
    words = [
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        "models:/fashion-gan@champion",
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    env = os.environ | {
        "MLFLOW_TRACKING_URI": tracking_uri(),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    env["PATH"] = f"{os.path.dirname(sys.executable)}:{env['PATH']}"  # it calls uvicorn by name
    with (project / "serve.log").open("w") as log:
        served = subprocess.Popen(
            [sys.executable, *words],
            cwd=project,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until(
                lambda: (
                    served.poll() is not None
                    or "startup complete" in (project / "serve.log").read_text()
                ),
                90,
                "the model server",
            )
            body = (run.folder / "model" / "serving_input_example.json").read_bytes()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
            )
            images = np.array(json.load(urllib.request.urlopen(request, timeout=60))["predictions"])
        finally:
            os.killpg(served.pid, signal.SIGKILL)
    generator = load_generator(run.folder / GENERATOR).generator
    expected = generate_images(
        generator, torch.cat([sample_latents(1, 8, s) for s in (0, 1)]), torch.tensor([0, 9])
    )
    assert np.array_equal(images, expected.squeeze(1).numpy())
