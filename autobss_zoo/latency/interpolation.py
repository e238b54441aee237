"""Times of blocks that were not measured, from those of their kind that were.

A sum of what a runtime has to do for each layer (multiply, read weights, write outputs, with channels as they are and
rounded up to vector units), with coefficients that are not negative, gives the trend; boosted trees correct it.
"""

from __future__ import annotations

import numpy as np

from .blocks import kinds

_VECTOR = 8  # channels
_LEAST = 40  # blocks of a kind for trees


class KindTimes:
    """The times of blocks of a kind.

    Args:
        kind: The kind.
        shapes: Of the measured blocks, integers of shape (n, figures).
        seconds: Their times, shape (n,).
    """

    def __init__(self, kind: str, shapes: np.ndarray, seconds: np.ndarray) -> None:
        from scipy.optimize import nnls

        self._kind, self._low, self._high = kind, shapes.min(axis=0), shapes.max(axis=0)
        work = _work(kind, shapes)
        self._scale = work.max(axis=0)
        self._scale[self._scale == 0] = 1.0
        self._each = nnls(work / self._scale / seconds[:, None], np.ones(len(seconds)))[0] / self._scale
        self._trees = None
        if len(shapes) >= _LEAST:
            from sklearn.ensemble import HistGradientBoostingRegressor

            options = {"max_iter": 150, "learning_rate": 0.08, "min_samples_leaf": 5, "max_leaf_nodes": 12}
            off = np.log(seconds / self._trend(work))
            self._trees = HistGradientBoostingRegressor(**options, random_state=0).fit(_seen(shapes, work), off)

    def __call__(self, shapes: np.ndarray) -> np.ndarray:
        """The seconds of blocks, shape (n,); NaN where a figure is beyond those of all measured blocks."""
        if not len(shapes):
            return np.empty(0)
        work = _work(self._kind, shapes)
        seconds = self._trend(work)
        if self._trees is not None:
            seconds = seconds * np.exp(self._trees.predict(_seen(shapes, work)))
        known = ((shapes >= self._low) & (shapes <= self._high)).all(axis=1)
        return np.where(known, seconds, np.nan)

    def _trend(self, work: np.ndarray) -> np.ndarray:
        return np.maximum(work @ self._each, 1e-9)


def _work(kind: str, shapes: np.ndarray) -> np.ndarray:
    """What there is to do in blocks, floats of shape (n, terms); the first is the call itself."""
    cls, n = kinds()[kind], len(shapes)
    block = cls(**dict(zip(cls.shape, shapes.T, strict=True)))
    terms = [np.ones(n), block.inputs * block.side**2]
    for layer in block.layers():
        once = layer.present * (layer.kernel * layer.side) ** 2
        inputs = 1 if layer.depthwise else _rounded(layer.inputs)
        figures = (layer.macs, layer.activations, layer.params)
        terms += [*(layer.present * figure for figure in figures), once * inputs * _rounded(layer.outputs)]
    return np.stack([np.broadcast_to(term, n) for term in terms], axis=1).astype(float)


def _rounded(channels: np.ndarray) -> np.ndarray:
    return -(-channels // _VECTOR) * _VECTOR


def _seen(shapes: np.ndarray, work: np.ndarray) -> np.ndarray:
    """What the trees see of blocks."""
    return np.hstack([shapes, np.log1p(work[:, 1:]), shapes % _VECTOR == 0])
