import pytest
import torch

from fashion_gan.metrics.distances import frechet_distance, wilson_interval, youden_threshold
from fashion_gan.metrics.kernel import kernel_distance
from fashion_gan.metrics.manifolds import prdc, radius
from fashion_gan.metrics.neighbours import centred_thumbnails, knn, nearest_images

pytestmark = pytest.mark.fast


def test_frechet_distance_of_gaussians_in_closed_form():
    """Diagonal Gaussians: |m1 - m2|^2 + sum (s1 - s2)^2, with the sample's moments forced to the
    asked ones."""
    torch.manual_seed(0)

    def forced(mean, std, n=5000):
        x = torch.randn(n, 4).double()
        x = x - x.mean(0)
        x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
        return x * torch.tensor(std).double() + torch.tensor(mean).double()

    a, b = forced([0.0, 1, 2, 3], [1.0, 2, 3, 0.5]), forced([1.0, 1, 0, 3], [2.0, 2, 1, 0.5])
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 4, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_frechet_distance_with_a_singular_covariance():
    flat = torch.randn(100, 3) * torch.tensor([1.0, 1.0, 0.0])
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-5)


def test_frechet_distance_agrees_with_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    torch.manual_seed(0)
    a, b = (
        torch.randn(500, 8).double(),
        torch.randn(400, 8).double() @ torch.randn(8, 8).double() + 1,
    )
    theirs = _compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T)).item()
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("counts", [(30, 30), (40, 30), (30, 40), (40, 40), (500, 37)])
def test_kernel_distance_by_moments_is_that_by_pairs(counts):
    """From 37 images on, 6 features have their means of the kernel by moments."""
    a, b = (torch.randn(count, 6, dtype=torch.float64) for count in counts)
    pairs = [(x @ y.T / 6 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    same = [(p.sum() - p.diagonal().sum()) / (len(p) * (len(p) - 1)) for p in pairs[:2]]
    value, error = kernel_distance(a, b, chunk=16)
    assert value == pytest.approx((sum(same) - 2 * pairs[2].mean()).item(), rel=1e-9)
    ours = (pairs[0].sum(1) - pairs[0].diagonal()) / (len(a) - 1) - pairs[2].mean(1)
    theirs = (pairs[1].sum(1) - pairs[1].diagonal()) / (len(b) - 1) - pairs[2].mean(0)
    variance = ours.var() / len(a) + theirs.var() / len(b)
    assert error == pytest.approx(2 * variance.sqrt().item(), rel=1e-9)


def test_kernel_distance_agrees_with_torchmetrics_and_is_unbiased():
    from torchmetrics.image.kid import poly_mmd

    torch.manual_seed(0)
    a, b = torch.randn(300, 6).double(), torch.randn(300, 6).double() * 1.2 + 0.1
    assert kernel_distance(a, b, chunk=70)[0] == pytest.approx(poly_mmd(a, b).item(), rel=1e-9)
    draws = torch.tensor(
        [kernel_distance(torch.randn(200, 6), torch.randn(200, 6)) for _ in range(200)]
    )
    assert draws[:, 0].mean().abs() <= 2 * draws[:, 0].std() / 200**0.5
    # the standard error says how much they vary
    assert draws[:, 1].mean() == pytest.approx(draws[:, 0].std().item(), rel=0.5)
    far = torch.tensor(
        [kernel_distance(torch.randn(200, 6), torch.randn(200, 6) + 0.5) for _ in range(100)]
    )
    assert far[:, 1].mean() == pytest.approx(far[:, 0].std().item(), rel=0.25)


def test_manifolds_by_hand():
    """On a line with k = 1: real balls reach 1, 1, 1 and 7; fake balls 0.5, 0.5, 1 and 1."""
    real, fake = (
        torch.tensor([[0.0], [1.0], [2.0], [9.0]]),
        torch.tensor([[0.25], [0.75], [100.0], [101.0]]),
    )
    found = prdc(real, fake, k=1)
    assert found["precision"] == pytest.approx(2 / 4)  # 0.25 and 0.75 lie among the real ones
    # 0 and 1 lie in the near fakes' balls, 2 and 9 in none
    assert found["recall"] == pytest.approx(2 / 4)
    # each of the two lies in the balls of 0 and 1
    assert found["density"] == pytest.approx((2 + 2) / 4)
    assert found["coverage"] == pytest.approx(2 / 4)  # only the balls of 0 and 1 hold a fake


def test_a_point_on_a_balls_edge_lies_in_it():
    """Kynkäänniemi et al. 2019, eq. 2: at most as far as the neighbour."""
    real, fake = (
        torch.tensor([[0.0], [1.0], [2.0], [9.0]]),
        torch.tensor([[3.0], [103.0], [206.0], [306.0]]),
    )
    found = prdc(real, fake, k=1)
    # 3 is 1 from 2, and 6 from 9, whose ball reaches 7
    assert found == {"precision": 0.25, "recall": 1.0, "density": 0.5, "coverage": 0.5}


def test_manifolds_agree_with_torch_fidelity():
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    torch.manual_seed(0)
    real, fake = torch.randn(400, 5).double(), torch.randn(300, 5).double() * 0.8 + 0.3
    found = prdc(real, fake, k=5, chunk=90)
    assert (found["precision"], found["recall"]) == pytest.approx(
        calculate_precision_recall_full(fake, real, neighborhood=5), abs=1e-6
    )


def test_precision_and_recall_see_what_they_are_made_for():
    torch.manual_seed(0)
    real = torch.cat([torch.randn(300, 4), torch.randn(300, 4) + 20])
    found = prdc(real, real)
    assert (found["precision"], found["recall"], found["coverage"]) == (1.0, 1.0, 1.0)
    found = prdc(real, torch.randn(600, 4))
    assert found["precision"] > 0.8
    assert 0.35 < found["recall"] < 0.55
    assert 0.35 < found["coverage"] <= 0.5
    assert set(prdc(real, torch.randn(600, 4) + 100).values()) == {0.0}


def test_chunks_change_nothing_and_nearest_is_brute_force():
    torch.manual_seed(0)
    a, b = torch.randn(230, 5).double(), torch.randn(180, 5).double()
    assert prdc(a, b, chunk=50) == prdc(a, b, chunk=1000)
    assert prdc(a, b, real_radius=radius(a)) == prdc(a, b)
    brute = (a[:, None] - b[None]).square().sum(dim=2).sqrt().sort(dim=1)
    for block in (20_000, 50, 2):  # one block, several, and some that hold fewer than are asked for
        distance, index = knn(a, b, count=3, chunk=7, block=block)
        assert torch.equal(index, brute.indices[:, :3])
        assert torch.allclose(distance, brute.values[:, :3])


def enlarged(images):
    """Grey images (N, 1, 28, 28) as large ones in colour (N, 3, 64, 64)."""
    large = torch.nn.functional.interpolate(images.float(), (64, 64), mode="bilinear")
    return torch.cat([large, large.flip(-1) * 0.7 + 20, 255 - large], dim=1).round().to(torch.uint8)


@pytest.mark.parametrize("made", [lambda images: images, enlarged], ids=["grey", "large in colour"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("move", [(0, 0), (1, 0), (-1, 1)])
def test_a_moved_mirrored_noisy_copy_is_found(splits, move, mirrored, made):
    train, validation = splits
    pool = made(torch.cat([train.images, validation.images]))
    inner = pool[:100, :, 1:-1, 1:-1]  # so that a move loses nothing
    originals = torch.nn.functional.pad(inner, (1, 1, 1, 1))
    copies = torch.roll(originals, move, dims=(2, 3))
    copies = copies.flip(-1) if mirrored else copies
    noise = torch.randn(copies.shape, generator=torch.Generator().manual_seed(0))
    copies = (copies + 5 * noise).round().clamp(0, 255).to(torch.uint8)
    distance, index = nearest_images(copies, [originals, pool[100:]])
    found = index.gather(1, distance.argmin(dim=1, keepdim=True)).squeeze(1)
    assert (found == torch.arange(100)).sum() >= 98
    assert distance.min(dim=1).values.median() < 6


@pytest.mark.parametrize(
    ("sides", "width"),
    [((28, 28), 7 * 7), ((32, 20), 8 * 5), ((33, 16), 5 * 2), ((80, 64), 10 * 8)],
    ids=["28", "32", "33", "80"],
)
def test_thumbnails_are_a_quarter_of_the_size_an_eighth_of_large_ones(sides, width):
    assert centred_thumbnails(torch.zeros(3, 1, *sides, dtype=torch.uint8)).shape == (3, width)
    assert centred_thumbnails(torch.zeros(3, 3, *sides, dtype=torch.uint8)).shape == (3, 3 * width)


def test_thumbnails_are_centred_on_what_is_bright():
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[..., 4:8, 16:24] = 200
    middle = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    middle[..., 12:16, 10:18] = 200
    assert torch.allclose(centred_thumbnails(image), centred_thumbnails(middle), atol=0.5)
    faint = torch.full((1, 1, 28, 28), 64, dtype=torch.uint8)  # not bright: nothing moves
    assert torch.allclose(centred_thumbnails(faint), torch.full((1, 49), 64.0))


def test_shares_have_wilsons_interval():
    share, low, high = wilson_interval(torch.arange(200) < 10)
    assert share == 0.05
    assert (low, high) == pytest.approx((0.0274, 0.0896), abs=5e-4)  # Wilson 1927 for 10 of 200
    assert wilson_interval(torch.zeros(50, dtype=torch.bool))[1] == pytest.approx(0, abs=1e-9)


def test_best_threshold_beats_every_other():
    torch.manual_seed(1)
    real, fake = torch.randn(60) + 3.5, torch.randn(40) + 2.5
    best = youden_threshold(real, fake)

    def balanced(t):
        return (real > t).double().mean() + (fake <= t).double().mean()

    assert balanced(best) >= max(balanced(t) for t in torch.linspace(0, 7, 500))
    assert youden_threshold(torch.tensor([5.0, 6.0]), torch.tensor([1.0, 2.0])) == pytest.approx(
        3.5
    )
