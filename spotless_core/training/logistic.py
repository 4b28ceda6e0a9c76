"""Logistic regression, for the weights of the evidence: few features, thousands of candidates."""

import numpy as np
from numpy.typing import NDArray


def fit_logistic(
    features: NDArray[np.float64],
    targets: NDArray[np.bool_],
    offset: NDArray[np.float64] | float = 0.0,
    penalty: float = 1e-2,
    steps: int = 30,
) -> NDArray[np.float64]:
    """Weights of a logistic regression of n×k `features` on n `targets`, by Newton's method with a small L2 penalty.

    `offset`: n log-odds that are given and not fitted.
    """
    weights = np.zeros(features.shape[1])
    for _ in range(steps):
        expected = 1 / (1 + np.exp(-np.clip(features @ weights + offset, -30, 30)))
        gradient = features.T @ (expected - targets) + penalty * weights
        curvature = (features * (expected * (1 - expected))[:, None]).T @ features
        weights = weights - np.linalg.solve(curvature + (penalty + 1e-9) * np.eye(len(weights)), gradient)
    return weights
