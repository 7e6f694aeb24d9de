import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix

from fashion_gan import metrics


def test_frechet_distance_of_gaussians_in_closed_form():
    """Diagonal Gaussians: |m1 - m2|^2 + sum (s1 - s2)^2, with the sample's moments forced to the asked ones."""
    torch.manual_seed(0)

    def forced(mean, std, n=5000):
        x = torch.randn(n, 4).double()
        x = x - x.mean(0)
        x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
        return x * torch.tensor(std).double() + torch.tensor(mean).double()

    a, b = forced([0.0, 1, 2, 3], [1.0, 2, 3, 0.5]), forced([1.0, 1, 0, 3], [2.0, 2, 1, 0.5])
    assert metrics.frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 4, rel=1e-6)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet_distance(a, b) == pytest.approx(metrics.frechet_distance(b, a), rel=1e-6)


def test_frechet_distance_with_a_singular_covariance():
    flat = torch.randn(100, 3) * torch.tensor([1.0, 1.0, 0.0])
    assert metrics.frechet_distance(flat, flat) == pytest.approx(0, abs=1e-5)


def test_precision_and_recall_see_what_they_are_made_for():
    torch.manual_seed(0)
    real = torch.cat([torch.randn(300, 4), torch.randn(300, 4) + 20])
    assert min(metrics.precision_recall(real, real)) == 1.0
    one_mode = torch.randn(600, 4)
    precision, recall = metrics.precision_recall(real, one_mode)
    assert precision > 0.8
    assert 0.35 < recall < 0.55
    assert metrics.precision_recall(real, torch.randn(600, 4) + 100) == (0.0, 0.0)


def test_chunks_change_nothing():
    torch.manual_seed(0)
    a, b = torch.randn(230, 5).double(), torch.randn(180, 5).double()
    assert metrics.precision_recall(a, b, chunk=50) == metrics.precision_recall(a, b, chunk=1000)
    assert torch.equal(metrics.nearest(a, b, chunk=7)[1], torch.cdist(a, b).argmin(dim=1))


def test_verdicts_agree_with_scikit_learn():
    torch.manual_seed(0)
    real, fake = torch.randn(500) + 0.5, torch.randn(300) - 0.5
    found = metrics.verdicts(real, fake, threshold=0.1)
    truth, said = [1] * 500 + [0] * 300, (torch.cat([real, fake]) > 0.1).long().tolist()
    assert found.accuracy == pytest.approx(accuracy_score(truth, said))
    theirs = 100 * confusion_matrix(truth, said, labels=[1, 0], normalize="true")
    assert np.allclose(found.percent(), theirs)
    assert all(sum(row) == pytest.approx(100) for row in found.percent())


def test_best_threshold_beats_every_other():
    torch.manual_seed(1)
    real, fake = torch.randn(60) + 3.5, torch.randn(40) + 2.5
    best = metrics.best_threshold(real, fake)

    def balanced(t):
        return (real > t).double().mean() + (fake <= t).double().mean()

    assert balanced(best) >= max(balanced(t) for t in torch.linspace(0, 7, 500))
    assert metrics.best_threshold(torch.tensor([5.0, 6.0]), torch.tensor([1.0, 2.0])) == pytest.approx(3.5)


def test_score_of_real_images_is_the_floor(data_dir):
    from fashion_gan.data import load_split

    validation, test = load_split(data_dir, "validation"), load_split(data_dir, "test")
    scores = metrics.score(validation.images[:1000], validation.labels[:1000], validation, test)
    assert scores["distance"] == pytest.approx(scores["floor"])
    assert (scores["precision"], scores["recall"]) == (scores["real_precision"], scores["real_recall"])
    assert scores["label_accuracy"] > 0.9
    noise = torch.randint(0, 256, (1000, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bad = metrics.score(noise, None, validation, test)
    assert bad["distance"] > 50 * scores["floor"]
    assert bad["label_accuracy"] is None
    assert bad["recall"] < 0.1
