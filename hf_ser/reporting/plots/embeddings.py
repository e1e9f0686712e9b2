"""Embeddings of a model in two dimensions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from hf_ser.reporting.palette import class_colour
from hf_ser.reporting.plots.style import legend, new_figure, point, save, styled, wrapped

_MIN_TSNE_CLIPS = 10
_PERPLEXITY = 30.0


def project(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project embeddings (clips, dim) to points (clips, 2).

    t-SNE (van der Maaten & Hinton 2008) initialised with the principal components, with a perplexity of at most 30.
    Fewer than ten clips have too few neighbours for t-SNE; their principal components are returned.
    """
    clips, dim = embeddings.shape
    if clips >= _MIN_TSNE_CLIPS and dim >= 2:
        perplexity = min(_PERPLEXITY, (clips - 1) / 3)
        return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(embeddings)
    points = np.zeros((clips, 2), dtype=embeddings.dtype)
    axes = min(2, clips, dim)
    if clips > 1:
        points[:, :axes] = PCA(axes, random_state=seed).fit_transform(embeddings)
    return points


@styled()
def plot_embeddings(points: np.ndarray, labels: Sequence[int], names: Sequence[str], path: Path, title: str) -> None:
    """Draw one point per clip, with a colour and a marker per class.

    Args:
        points: (clips, 2), such as from `project`; the axes have no unit.
        labels: class ids (clips,).
        names: class names; classes without clips are left out of the legend.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    points, ids = np.asarray(points), np.asarray(labels)
    figure = new_figure(8, 5.6, title)
    axes = figure.subplots()
    # Smaller points where there are many, which would hide each other.
    size = float(np.clip(120 / np.sqrt(max(1, len(points))), 3, 7))
    present = [index for index in range(len(names)) if (ids == index).any()]
    for index in present:
        of_class = points[ids == index]
        look = point(index, class_colour(names[index], names)) | {
            "linestyle": "",
            "markersize": size,
            "markeredgewidth": 0.3,
        }
        axes.plot(of_class[:, 0], of_class[:, 1], alpha=0.85, rasterized=True, **look)  # thousands of points in SVG
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.margins(0.05)
    axes.set_title("Projection of the embeddings: one point per clip")
    handles = [
        Line2D([], [], linestyle="", markersize=7, **point(index, class_colour(names[index], names)))
        for index in present
    ]
    described = [f"{wrapped(names[index], 24)} ({(ids == index).sum()})" for index in present]
    legend(figure, handles, described, loc="outside right center")
    save(figure, path)
