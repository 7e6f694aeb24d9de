"""The kernel distance between two sets of features."""

import torch


def kernel_distance(a: torch.Tensor, b: torch.Tensor, chunk: int = 1000) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy of features (N, d) and (M, d), and its standard
    error.

    Under the kernel (x·y / d + 1)^3, after Bińkowski et al. 2018; the error to first order, of the
    two-sample U-statistic's projections. It may fall below 0, since its mean over draws of one
    distribution is 0.
    """
    a, b = a.double(), b.double()
    ours = _kernel_means(a, a, chunk, same=True) - _kernel_means(a, b, chunk)
    theirs = _kernel_means(b, b, chunk, same=True) - _kernel_means(b, a, chunk)
    variance = ours.var() / len(a) + theirs.var() / len(b)
    error = 2 * variance.sqrt()
    return (ours.mean() + theirs.mean()).item(), error.item()


def _kernel(products: torch.Tensor, width: int) -> torch.Tensor:
    """The cubic polynomial kernel of products x·y of features of `width` entries."""
    base = products / width + 1
    return base * base * base


def _kernel_means(x: torch.Tensor, y: torch.Tensor, chunk: int, same: bool = False) -> torch.Tensor:
    """The mean of k(x_i, y_j) over j, (N,); of the `same` set without j = i."""
    width = x.shape[1]
    sums = torch.cat([_kernel(part @ y.T, width).sum(dim=1) for part in x.split(chunk)])
    if not same:
        return sums / len(y)
    with_itself = _kernel(x.square().sum(dim=1), width)
    return (sums - with_itself) / (len(y) - 1)
