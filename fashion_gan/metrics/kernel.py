"""The kernel distance between two sets of features."""

from collections.abc import Callable

import torch


def kernel_distance(a: torch.Tensor, b: torch.Tensor, chunk: int = 200) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy of features (N, d) and (M, d), and its standard
    error.

    Under the kernel (x·y / d + 1)^3, after Bińkowski et al. 2018; the error to first order, of the
    two-sample U-statistic's projections. It may fall below 0, since its mean over draws of one
    distribution is 0.
    """
    a, b = a.double(), b.double()
    of_a, of_b = (_kernel_mean(features, chunk) for features in (a, b))
    ours = _without_itself(of_a(a), a) - of_b(a)
    theirs = _without_itself(of_b(b), b) - of_a(b)
    variance = ours.var() / len(a) + theirs.var() / len(b)
    error = 2 * variance.sqrt()
    return (ours.mean() + theirs.mean()).item(), error.item()


def _kernel(products: torch.Tensor, width: int) -> torch.Tensor:
    """The cubic polynomial kernel of products x·y of features of `width` entries."""
    base = products / width + 1
    return base * base * base


def _without_itself(means: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Means (N,) of k(x_i, x_j) over j, without j = i."""
    with_itself = _kernel(x.square().sum(dim=1), x.shape[1])
    return (len(x) * means - with_itself) / (len(x) - 1)


def _kernel_mean(y: torch.Tensor, chunk: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function of features (N, d) that gives the means (N,) of k(x_i, y_j) over j. Many y are
    summed up by their moments, which the mean of a cubic polynomial follows from."""
    count, width = y.shape
    if count <= width * width:

        def mean_of(part: torch.Tensor) -> torch.Tensor:
            return _kernel(part @ y.T, width).mean(dim=1)

    else:
        first = y.mean(dim=0) / width
        second = y.T @ y / (count * width**2)
        # of all products of three entries, (d d, d)
        third = sum(_squares(part).T @ part for part in y.split(chunk))
        third = third / (count * width**3)

        def mean_of(part: torch.Tensor) -> torch.Tensor:
            linear = part @ first
            quadratic = ((part @ second) * part).sum(dim=1)
            cubic = ((_squares(part) @ third) * part).sum(dim=1)
            return 1 + 3 * linear + 3 * quadratic + cubic

    return lambda x: torch.cat([mean_of(part) for part in x.split(chunk)])


def _squares(x: torch.Tensor) -> torch.Tensor:
    """All products of two entries, (N, d d)."""
    return (x[:, :, None] * x[:, None, :]).flatten(1)
