"""Logistic regression with a ridge and no negative weight, and isotonic regression."""

import numpy as np
from jaxtyping import Bool, Float


def sigmoid(odds: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """From log odds to probabilities."""
    return 0.5 * (1 + np.tanh(odds / 2))


def smoothed(correct: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Platt's targets: (n + 1) / (n + 2) for right ones, 1 / (n + 2) for wrong ones."""
    right, wrong = int(correct.sum()), int((~correct).sum())
    return np.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))


def logistic(
    columns: Float[np.ndarray, "n some"], truth: Float[np.ndarray, " n"], penalty: float
) -> tuple[Float[np.ndarray, " some"], float]:
    """Weights, none negative, and the intercept of ridge-penalised logistic regression."""
    free = list(range(columns.shape[1]))
    weights = np.zeros(columns.shape[1])
    while True:
        found, intercept = _newton(columns[:, free], truth, penalty)
        if min(found, default=0) >= 0:
            weights[free] = found
            return weights, intercept
        del free[int(np.argmin(found))]


def _newton(
    columns: Float[np.ndarray, "n some"], truth: Float[np.ndarray, " n"], penalty: float
) -> tuple[Float[np.ndarray, " some"], float]:
    rows = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    ridge = np.full(rows.shape[1], penalty)
    ridge[-1] = 1e-6
    w = np.zeros(rows.shape[1])
    for _ in range(100):
        p = sigmoid(rows @ w)
        gradient = rows.T @ (p - truth) + ridge * w
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        w -= step / max(1.0, float(np.abs(step).max()) / 2)  # a long step overshoots
        if np.abs(step).max() < 1e-9:
            break
    return w[:-1], float(w[-1])


def isotonic_steps(
    scores: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> tuple[tuple[float, float], ...]:
    """Pool adjacent violators: the rising shares nearest to the truth, by score."""
    order = np.argsort(scores, kind="stable")
    blocks: list[list[float]] = []  # sum of scores, sum of truths, how many
    for score, truth in zip(scores[order].tolist(), correct[order].tolist(), strict=True):
        blocks.append([score, float(truth), 1.0])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    # As Platt's targets: no probability is 0 or 1 by a handful of matches.
    return tuple((s / n, (t + 1) / (n + 2)) for s, t, n in _rising_only(blocks))


def _rising_only(blocks: list[list[float]]) -> list[list[float]]:
    """Blocks whose smoothed shares still rise; those that do not are pooled with the one before."""
    kept: list[list[float]] = []
    for block in blocks:
        kept.append(block)
        while len(kept) > 1 and _share(kept[-2]) >= _share(kept[-1]):
            last = kept.pop()
            kept[-1] = [a + b for a, b in zip(kept[-1], last, strict=True)]
    return kept


def _share(block: list[float]) -> float:
    return (block[1] + 1) / (block[2] + 2)
