"""Charts of the notebooks' figures."""

import numpy as np
import pandas as pd
import seaborn
import torch

from fashion_gan.report.plots import COLOURS, Picture, chart, label, new_axes, picture

MOST_CLASSES = 20  # with a name each in a figure


@chart
def grey_levels(images: torch.Tensor) -> Picture:
    """How often each grey level comes among all pixels of images uint8 (N, C, H, W)."""
    pixels = images.flatten().numpy()
    title = f"Grey levels of {len(images):,} images"
    xlabel = "grey level, 0 black to 255 white"
    figure, axes = new_axes()
    axes.hist(pixels, bins=64, log=True)
    axes.set(title=title, xlabel=xlabel, ylabel="pixels (log scale)")
    black = f"{100 * (pixels == 0).mean():.0f} % of the pixels are black"
    return picture(figure, f"histogram of the grey levels of {len(images):,} images; {black}")


@chart
def tsne_map(points: np.ndarray, labels: torch.Tensor, classes: tuple[str, ...]) -> Picture:
    """Training images as points (N, 2), coloured by class (N,); near points are similar images. Of
    more than 20 classes none is named."""
    figure, axes = new_axes(7.5, 5.0)
    x, y = points.T
    palette = "tab20" if len(classes) > 10 else "tab10"
    if len(classes) > MOST_CLASSES:
        palette = "husl"
    # by number, since two names may be the same when they are shortened
    colours = dict(enumerate(seaborn.color_palette(palette, len(classes))))
    seaborn.scatterplot(
        x=x,
        y=y,
        s=9,
        linewidth=0,
        ax=axes,
        legend="full",
        hue=labels.tolist(),
        hue_order=list(colours),
        palette=colours,
    )
    title = f"{len(points):,} training images, t-SNE on pixels"
    axes.set(title=title, xticks=[], yticks=[])
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        list(map(label, classes)),
        fontsize=8,
        markerscale=2,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    if len(classes) > MOST_CLASSES:
        axes.get_legend().remove()
    alt = "images as points coloured by class; similar images lie close together"
    return picture(figure, f"{len(points):,} {alt}")


@chart
def class_bars(shares: dict[str, list[float]], classes: tuple[str, ...]) -> Picture:
    """What the judge sees: for each class a bar of each share, a value a class, None where there is
    none; of more than 20 classes those with the lowest first share."""
    table = pd.DataFrame(shares, index=list(map(label, classes)), dtype=float)
    title = "What the judge sees"
    if len(classes) > MOST_CLASSES:
        table = table.nsmallest(MOST_CLASSES, table.columns[0])
        title += f" (the {len(table)} lowest of {len(classes):,} classes)"
    is_long = max(map(len, table.index)) > 12
    figure, axes = new_axes(8.0, 4.5 if is_long else 3.0)
    table.plot.bar(ax=axes, rot=90 if is_long else 30, ylabel="share", color=list(COLOURS))
    axes.set_title(title, loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    columns = pd.DataFrame(shares, dtype=float).items()
    ranges = [f"{name}: {share.min():.2f} to {share.max():.2f}" for name, share in columns]
    return picture(figure, f"bars per class of what the judge sees. {'; '.join(ranges)}")


@chart
def class_confusion(share: torch.Tensor) -> Picture:
    """Which class the judge sees (column) where a class was the target (row): shares (C, C) of a
    row, without numbers."""
    count = len(share)
    figure, axes = new_axes(4.2, 3.4)
    seaborn.heatmap(
        share.numpy(),
        vmin=0,
        vmax=1,
        cmap="Blues",
        cbar_kws={"label": "share of the row"},
        xticklabels=False,
        yticklabels=False,
        ax=axes,
    )
    axes.set(title=f"{count:,} classes", xlabel="seen by the judge", ylabel="target")
    right = share.diagonal()[share.sum(dim=1) > 0].mean().item()
    alt = f"confusion of {count:,} classes; seen as the target, on average: {right:.2f} of a class"
    return picture(figure, alt)


def most_confused(share: torch.Tensor, classes: tuple[str, ...], most: int = 10) -> pd.DataFrame:
    """The pairs of classes that are confused most: target, class that is seen, share (C, C)."""
    others = share.nan_to_num().fill_diagonal_(0).flatten()
    values, index = others.topk(min(most, len(others)))
    rows = []
    for value, i in zip(values.tolist(), index.tolist(), strict=True):
        if value > 0:
            target, other = divmod(i, len(classes))
            rows.append((classes[target], classes[other], round(value, 2)))
    return pd.DataFrame(rows, columns=["target", "seen by the judge", "share"])


@chart
def nearest_distances(quantiles: dict[str, torch.Tensor], close: float) -> Picture:
    """The share of images that lie nearer to a training image than a distance in grey levels, a
    line a set. `quantiles`: of a set's distances, at equal steps of the share; 255 stands for none
    near. `close`: the share of the samples nearer than 95 % of unseen real images."""
    figure, axes = new_axes()
    for (name, values), colour in zip(quantiles.items(), COLOURS, strict=False):
        shares = torch.linspace(0, 1, len(values), dtype=torch.float64)
        axes.plot(values.where(values < 255, torch.nan), shares, label=name, color=colour)
    xlabel = "distance, root mean square of grey levels"
    axes.set(title="Nearest training image", xlabel=xlabel, ylabel="share that is nearer")
    axes.legend()
    alt = "share of images that lie nearer to a training image than a distance"
    samples = f"{100 * close:.1f} % of the samples are nearer than 95 % of unseen real images"
    return picture(figure, f"{alt}; {samples}")


@chart
def confusion_matrix(percent: list[list[float]], split: str) -> Picture:
    """The discriminator's verdicts (2, 2) in % of a row: a row for what the images are, a column
    for what it called them; real first."""
    figure, axes = new_axes(4.2, 3.4)
    seaborn.heatmap(
        percent,
        annot=True,
        fmt=".1f",
        vmin=0,
        vmax=100,
        cmap="Blues",
        cbar_kws={"label": "% of the row"},
        xticklabels=["judged real", "judged fake"],
        yticklabels=["real", "fake"],
        ax=axes,
    )
    axes.set_title(f"Discriminator on the {split} split")
    (real_right, real_wrong), (fake_wrong, fake_right) = percent
    real = f"real images judged real {real_right:.1f} %, fake {real_wrong:.1f} %"
    fake = f"fakes judged real {fake_wrong:.1f} %, fake {fake_right:.1f} %"
    return picture(figure, f"discriminator on the {split} split: {real}; {fake}")


@chart
def learning_curves(points: pd.DataFrame, title: str, xlabel: str, alt: str, **lines) -> Picture:
    """Validation distances on a log scale, a line a run. `lines`: for seaborn, the columns of
    `points` that are x, y, hue and units, and the colours."""
    # no name is read as mathematics
    names = points[lines["hue"]].str.replace("$", r"\$", regex=False)
    points = points.assign(**{lines["hue"]: names})
    figure, axes = new_axes()
    seaborn.lineplot(points, estimator=None, marker="o", ax=axes, **lines)
    ylabel = "Fréchet distance, by dev"
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale="log", xlim=(0, None))
    return picture(figure, alt)


@chart
def parameter_effect(
    trials: pd.DataFrame, finished: pd.DataFrame, name: str, metric: str, palette: dict, log: bool
) -> Picture:
    """A sweep's metric, lower is better, by one parameter (`log`: on a log scale), a mark a trial.
    Grey: mean and standard deviation of each point over its `finished` trials."""
    best = trials.loc[trials[metric].idxmin()]
    lowest = f"lowest {best[metric]:.3g} at {name} {best[name]}"
    if isinstance(best[name], str):
        trials, finished = (
            part.assign(**{name: part[name].map(label)}) for part in (trials, finished)
        )
    figure, axes = new_axes()
    seaborn.scatterplot(
        trials, x=name, y=metric, style="end", hue="end", palette=palette, s=60, ax=axes
    )
    points = finished.groupby("point").agg({name: "first", metric: ["mean", "std"]})
    values = points[name]["first"]
    means = points[metric]["mean"]
    deviations = points[metric]["std"].fillna(0)
    axes.errorbar(values, means, deviations, fmt="_", color="#555555", capsize=4)
    axes.set(title=f"{metric} by {name}", yscale="log")
    if log:
        axes.set_xscale("log")
    if isinstance(best[name], str):  # names, longer than numbers
        for text in axes.get_xticklabels():
            text.set(rotation=30, horizontalalignment="right")
    return picture(figure, f"{metric} of {len(trials)} trials by {name}; {lowest}")
