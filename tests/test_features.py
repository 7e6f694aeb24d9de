import pytest
import torch
from conftest import fashion_gan_here, packed_folder

from fashion_gan import UserError
from fashion_gan.data.datasets import load_split
from fashion_gan.files import read_json
from fashion_gan.models import feature_network
from fashion_gan.models.feature_network import (
    PACKED_ROLES,
    ROLES,
    TOTAL_VARIANCE,
    WEIGHTS,
    _load_feature_network,
    extract_features,
    load_feature_network,
)


@pytest.mark.parametrize(
    "role", [pytest.param(role, marks=[pytest.mark.slow] * (role != "judge")) for role in ROLES]
)
def test_shipped_networks_see_clothes(role, data_dir):
    test = load_split(data_dir, "test")
    found = (
        (extract_features(load_feature_network(role), test.images)[1] == test.labels)
        .double()
        .mean()
        .item()
    )
    assert found >= 0.92
    assert found == pytest.approx(
        read_json(WEIGHTS / "features.json")[role]["test_accuracy"], abs=2e-3
    )
    assert (WEIGHTS / f"{role}.safetensors").stat().st_size <= 1_000_000
    hidden, _ = extract_features(
        load_feature_network(role), load_split(data_dir, "train").images[:5000]
    )
    assert hidden.var(dim=0).sum().item() == pytest.approx(TOTAL_VARIANCE, rel=0.05)


@pytest.mark.fast
def test_bytes_and_floats_give_the_same_features(splits):
    network, images = load_feature_network("judge"), splits[0].images[:50]
    a, _ = extract_features(network, images)
    b, _ = extract_features(network, images.float() / 127.5 - 1)
    assert torch.allclose(a, b)


@pytest.mark.fast
def test_loading_one_touches_no_global_generator():
    _load_feature_network.cache_clear()
    before = torch.get_rng_state()
    load_feature_network("dev")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.fast
def test_a_damaged_weights_file_is_refused(tmp_path, monkeypatch):
    import shutil

    shutil.copytree(WEIGHTS, tmp_path / "weights")
    path = tmp_path / "weights" / "dev.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(feature_network, "WEIGHTS", tmp_path / "weights")
    _load_feature_network.cache_clear()
    with pytest.raises(UserError, match="missing or damaged"):
        load_feature_network("dev")
    _load_feature_network.cache_clear()


@pytest.mark.fast
def test_training_one_is_seeded(splits):
    from fashion_gan.training import feature_networks

    a, b = (feature_networks.train_feature_network("dev", splits[0], 1) for _ in range(2))
    assert all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.fast
def test_networks_that_are_trained_are_kept_when_the_next_is_killed(tmp_path, monkeypatch):
    from fashion_gan.training import feature_networks

    folder = packed_folder(tmp_path / "set", (1, 16, 16), ("a", "b"))
    for path in (folder / "networks").iterdir():
        path.unlink()
    monkeypatch.setattr(feature_networks, "MOST_EPOCHS", 1)
    lines = []

    def killed_after_two(line):
        lines.append(line)
        if line.startswith("dev: accuracy"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feature_networks.train_for(folder, killed_after_two)
    kept = {path.name: path.read_bytes() for path in (folder / "networks").glob("*.safetensors")}
    assert sorted(kept) == ["dev.safetensors", "judge.safetensors"]
    (folder / "networks" / "dev.safetensors").write_bytes(b"damaged")
    lines.clear()
    feature_networks.train_for(folder, lines.append)
    assert [line for line in lines if "kept" in line] == ["judge: kept from an earlier try"]
    for name, content in kept.items():
        assert (folder / "networks" / name).read_bytes() == content
    assert sorted(read_json(folder / "networks" / "features.json")) == sorted(PACKED_ROLES)
    lines.clear()
    feature_networks.train_for(folder, lines.append)
    assert not lines


def test_the_command_is_there():
    assert "train-features" in fashion_gan_here("--help").stdout
