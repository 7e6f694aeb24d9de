import json
import os
import signal
import subprocess
import sys
import urllib.request

import copier
import numpy as np
import pytest
import registry
import store
import torch

from fashion_gan import UserError, latent, model
from fashion_gan.files import digest
from fashion_gan.params import Params
from fashion_gan.run import Run


@pytest.fixture
def run(project):
    from test_sync import fill

    run = Run.create(Params(), name="r1", profile="smoke")
    fill(run, 1.0)
    run.finish()
    return run


def test_it_is_found_by_run_path_file_and_folder(run, project):
    digests = {
        model.find(str(w)).digest for w in ("r1", "latest", run.folder, run.folder / model.FILE)
    }
    assert len(digests) == 1
    assert model.find("auto").source == "the newest finished run, r1"
    assert model.find("auto", own=run.folder).source == "this run, r1"


def test_the_pyfunc_loads_without_pickle_and_without_the_package(run, tmp_path):
    """In another process that has neither this project's folder nor its installed package on its
    path."""
    folder = registry.save_pyfunc(run.folder)
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
    generator = model.load_generator(run.folder / model.FILE).generator
    expected = latent.generate(
        generator, torch.cat([latent.draw(1, 8, s) for s in (1, 2, 1)]), torch.tensor([3, 3, 9])
    )
    assert np.array_equal(images, expected.squeeze(1).numpy())


@pytest.mark.parametrize(
    "harm", [lambda c: c[: len(c) // 2], lambda c: b"hello", lambda c: b"", lambda c: b"\xff" * 100]
)
def test_damaged_files_are_refused_in_one_line(run, tmp_path, harm):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(harm((run.folder / model.FILE).read_bytes()))
    with pytest.raises(UserError, match=r"no model of fashion-gan, or it is damaged") as error:
        model.load_generator(path)
    assert "\n" not in str(error.value)


def test_a_run_without_a_generator_says_how_to_go_on(project):
    Run.create(Params(), name="young")
    with pytest.raises(UserError, match="fashion-gan resume young"):
        model.find("young")


def test_what_is_nowhere(project):
    with pytest.raises(UserError, match="no model 'nothing'"):
        model.find("nothing")
    with pytest.raises(UserError, match="no model models:/fashion-gan@champion in MLflow"):
        model.find("models:/fashion-gan@champion")


def test_equal_networks_have_equal_files(run, tmp_path):
    again = model.load_generator(run.folder / model.FILE)
    digests = set()
    for i in range(8):
        model.save_network(tmp_path / f"{i}.safetensors", again.generator, again.params)
        digests.add(digest(tmp_path / f"{i}.safetensors"))
    assert len(digests) == 1


def test_the_registered_model_answers_a_request_with_images(run, project):
    """`mlflow models serve` on the champion, asked with the model's own input example."""
    from conftest import wait_until
    from ports import free_port

    copier.sync(run)
    version = registry.make_client().get_model_version_by_alias(store.MODEL_NAME, "champion")
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
        "MLFLOW_TRACKING_URI": store.tracking_uri(),
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
    generator = model.load_generator(run.folder / model.FILE).generator
    expected = latent.generate(
        generator, torch.cat([latent.draw(1, 8, s) for s in (0, 1)]), torch.tensor([0, 9])
    )
    assert np.array_equal(images, expected.squeeze(1).numpy())
