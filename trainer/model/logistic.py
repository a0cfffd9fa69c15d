"""Multinomial logistic regression by L-BFGS: NumPy and SciPy, the same optimum as scikit-learn's.

The bot refits heads all day and must not carry scikit-learn (89 MB of memory), hence our own. Soft targets and an
offset are allowed, so that the same function fits a head and a correction of a head. It knows nothing of labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float32]

TOLERANCE = 1e-4
"""Largest entry of the mean gradient at which the fit stops; scikit-learn's default."""


def fit_logistic(
    vectors: Floats,
    targets: Floats,
    *,
    offset: Floats | None = None,
    weights: Floats | None = None,
    inverse_penalty: float = 10.0,
    iterations: int = 100,
    start: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Floats]:
    """Minimise  sum of cross-entropies + |W|^2 / (2 * inverse_penalty)  over W [K, d] and b [K]; b is free.

    `vectors` [n, d]; `targets` [n, K], rows sum to 1; `offset` [n, K] is added to the logits;
    `weights` [n] say how much each row counts (None: 1). `start` only saves time.
    """
    dimensions, classes = vectors.shape[1], targets.shape[1]
    count = float(len(vectors) if weights is None else weights.sum())
    penalty = 1.0 / (inverse_penalty * count)
    each = np.float32(1.0 / count) if weights is None else (weights / np.float32(count))[:, None]
    weighed = targets * each
    transposed = np.ascontiguousarray(vectors.T)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = _unpack(flat, classes, dimensions)
        logits = vectors @ weight.T + bias
        if offset is not None:
            logits += offset
        log_p = log_softmax(logits)
        loss = -float(np.vdot(weighed, log_p)) + 0.5 * penalty * float(flat[:-classes] @ flat[:-classes])
        residual = np.exp(log_p) * each - weighed
        gradient = np.empty_like(flat)
        gradient[:-classes] = (transposed @ residual).T.ravel()
        gradient[:-classes] += penalty * flat[:-classes]
        gradient[-classes:] = residual.sum(0)
        return loss, gradient

    begin = np.zeros(classes * (dimensions + 1)) if start is None else np.concatenate([start[0].ravel(), start[1]])
    found = minimize(
        objective,
        begin.astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "gtol": TOLERANCE, "ftol": 1e-10},
    )
    weight, bias = _unpack(found.x, classes, dimensions)
    # A common shift changes no probability; centred, the numbers do not depend on where the search began.
    return weight - weight.mean(0), bias - bias.mean()


def log_softmax(logits: Floats) -> Floats:
    """Row by row, safe for large logits; same shape and dtype."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def one_hot(targets: NDArray[np.integer], classes: int) -> Floats:
    """[n] class numbers to [n, classes]."""
    return np.eye(classes, dtype=np.float32)[np.asarray(targets, dtype=np.int64)]


def _unpack(flat: NDArray[np.float64], classes: int, dimensions: int) -> tuple[Floats, Floats]:
    values = flat.astype(np.float32)
    return values[: classes * dimensions].reshape(classes, dimensions), values[classes * dimensions :]
