r"""Penalised logistic regressions: the model that all codes share, a code's own part, and the solvers of both.

`fit_shared` fits the shared model of `aggregator`, one regression over (note, code) pairs. The features of the pair
\((n, c)\) are, for each level \(l\), the means over the concepts of that level which cover \(c\) of \(x_{nk}\) and of
\(s_{nk}\) in units of the deviation of all scores; the log-odds of the code's training frequency; and 1.

`fit_on_path` and `fit_on_all` fit a code's own part \((d_c, e_c)\), the same problem with two solvers. In the first
only the concepts that cover the code move, a handful for each code: the problems of all codes are tiny, and many are
solved together by Newton's method. In the second every concept moves for every code: one large problem for L-BFGS.

`minimize` is damped Newton for many small convex problems at once, and `logistic` makes ridge logistic regressions such
problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Penalty of each weight of the shared model but its intercept. Pairs are many, so that it hardly matters.
SHARED_PENALTY = 1.0
#: With more pairs than this, all positive ones are used, and so many negative ones, drawn at random and weighted to
#: stand for all: a dozen numbers need no more.
MAX_PAIRS = 2_000_000
#: Notes that are looked at together: bounds the memory that float64 takes.
BLOCK = 256
#: Penalty of a code's own intercept e_c.
BIAS_PENALTY = 1.0
#: Numbers in the features of the codes that are solved together: few enough to stay near the processor.
BATCH = 2_000_000
#: An infinite penalty, as a number.
HUGE = 1e15


def fit_on_path(
    logits: np.ndarray,
    gold: np.ndarray,
    rows: np.ndarray,
    statistics: ScoreStatistics,
    cover: csr_array,
    shared: tuple[np.ndarray, np.ndarray],
    penalties: list[float],
    tolerance: float,
    precision: type = np.float64,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each penalty w and b: the shared model's plus the codes' own.

    Args:
        rows: the notes to fit on. cover: (codes, concepts).
        shared: weights in the order of `cover.data`, intercepts (codes,); what is returned has the same form.
        tolerance: see `minimize`. precision: float32 is faster, and enough to compare penalties.
    """
    sizes = np.diff(cover.indptr)
    order = np.argsort(sizes, kind="stable")  # codes with as many concepts stand together
    fitted = [(shared[0].copy(), shared[1].copy()) for _ in penalties]
    start = 0
    while start < len(order):
        width = max(1, BATCH // (len(rows) * (int(sizes[order[start]]) + 2)))
        batch = order[start : start + width]
        batch = batch[sizes[batch] <= 2 * sizes[batch[0]] + 4]
        start += len(batch)
        # Codes with fewer concepts than the widest are filled up with features that are 0.
        entry = cover.indptr[batch][:, None] + np.arange(sizes[batch].max())
        real = np.arange(entry.shape[1]) < sizes[batch][:, None]
        entry[~real] = 0
        features = np.ones((len(batch), entry.shape[1] + 1, len(rows)), dtype=precision)
        columns, place = np.unique(cover.indices[entry], return_inverse=True)
        x = (logits[rows[:, None], columns] - statistics.mean[columns]) / statistics.scale[columns]
        features[:, :-1] = x.T.astype(precision)[place.reshape(entry.shape)]
        features[:, :-1][~real] = 0.0
        weights: np.ndarray = np.where(real, shared[0][entry], 0.0).astype(precision)
        offset = (weights[:, None, :] @ features[:, :-1])[:, 0] + shared[1][batch, None].astype(precision)
        target: np.ndarray = np.ascontiguousarray(gold[rows[:, None], batch].T).astype(precision)
        own = np.zeros((len(batch), entry.shape[1] + 1))
        for (w, b), penalty in zip(fitted, penalties, strict=True):
            lam = np.full(own.shape, min(penalty, HUGE))
            lam[:, -1] = BIAS_PENALTY
            own = minimize(logistic(features, offset, target, lam), own, tolerance)
            w[entry[real]] += own[:, :-1][real]
            b[batch] += own[:, -1]
    return fitted


def fit_on_all(
    x: np.ndarray,
    gold: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    penalties: list[np.ndarray],
    tolerance: float,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each penalty w (concepts, codes) and b (codes,): the shared model's plus the codes' own.

    Args:
        x: standardised scores, float64, shape (notes, concepts). gold: 0/1, shape (notes, codes).
        weights, bias: of the shared model, of the shapes returned. penalties: of d, each of the shape of `weights`.
        tolerance: relative change of the objective at which a fit ends.
    """
    from scipy.optimize import minimize  # a coder that is only used starts without it

    offset, own = x @ weights + bias, np.zeros((x.shape[1] + 1, len(bias)))
    fitted = []
    for penalty in penalties:
        # In units of 1/sqrt(penalty) the problem is round, and L-BFGS takes few steps.
        root = np.sqrt(np.vstack([np.minimum(penalty, HUGE), np.full((1, len(bias)), BIAS_PENALTY)]))

        def loss(u: np.ndarray, root: np.ndarray = root) -> tuple[float, np.ndarray]:
            own = u.reshape(root.shape) / root
            z = offset + x @ own[:-1] + own[-1]
            residual = expit(z) - gold
            gradient = np.vstack([x.T @ residual, residual.sum(axis=0)]) / root
            return log_loss(z, gold) + 0.5 * float(u @ u), gradient.reshape(-1) + u

        options = {"maxiter": 1000, "maxcor": 20, "ftol": tolerance, "gtol": 1e-4}
        found = minimize(loss, (own * root).reshape(-1), jac=True, method="L-BFGS-B", options=options).x
        own = found.reshape(root.shape) / root
        fitted.append((weights + own[:-1], bias + own[-1]))
    return fitted


#: Points (b, unknowns) of the problems with these numbers (b,) -> values (b,), gradients and Hessians there.
Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def minimize(objective: Objective, start: np.ndarray, tolerance: float = 1e-8, steps: int = 100) -> np.ndarray:
    """The minima of smooth convex problems that have nothing in common but their size.

    Args:
        objective: see `Objective`; its Hessians must be positive definite.
        start: float64, shape (problems, unknowns).
        tolerance: a problem takes its last step when that step promises to lower the value by less than this. Newton
            converges quadratically, so that the value then reached is off by far less.
        steps: at most so many.

    Returns:
        float64, shape (problems, unknowns).
    """
    point, left = start.astype(np.float64), np.arange(len(start))
    value, gradient, hessian = objective(point, left)
    for _ in range(steps):
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        promise = 0.5 * (gradient * step).sum(axis=1)
        last = promise < tolerance
        point[left[last]] -= step[last]
        if last.all():
            break
        left, value, step, promise = left[~last], value[~last], step[~last], promise[~last]
        gradient, hessian = gradient[~last], hessian[~last]
        before, old, high, part = point[left], value.copy(), np.arange(len(left)), 1.0
        rounding = 1e-6 * (1 + np.abs(old))
        while len(high):  # those whose value did not fall go half the way back
            point[left[high]] = before[high] - part * step[high]
            value[high], gradient[high], hessian[high] = objective(point[left[high]], left[high])
            high = high[~(value[high] <= (old - 1e-4 * part * promise + rounding)[high])]
            part /= 2
    return point


def logistic(
    features: np.ndarray,
    offset: np.ndarray,
    target: np.ndarray,
    penalty: np.ndarray,
    weight: np.ndarray | float = 1.0,
) -> Objective:
    r"""Ridge logistic regressions: minus the log-likelihood of the targets, plus \(\frac12 \sum_j \lambda_j v_j^2\).

    Args:
        features: shape (problems, unknowns, n); their type, float32 or float64, is the one that is computed in.
        offset: log-odds before the features are looked at, shape (problems, n). target: 0/1, the same shape.
        penalty: \(\lambda\), shape (problems, unknowns). weight: of each of the n cases.
    """
    everything = len(features)

    def objective(point: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = slice(None) if len(which) == everything else which  # a slice copies nothing
        x, y, lam = features[part], target[part], penalty[part]
        z = offset[part] + (point.astype(x.dtype)[:, None, :] @ x)[:, 0, :]
        small = np.exp(-np.abs(z))  # exp of what is not positive cannot overflow
        loss = np.maximum(z, 0) + np.log1p(small) - y * z
        probability = np.where(z > 0, 1, small) / (1 + small)
        curvature = small / (1 + small) ** 2 * weight
        value = (loss * weight).sum(axis=1, dtype=np.float64) + 0.5 * (lam * point**2).sum(axis=1)
        gradient = (x @ ((probability - y) * weight)[..., None])[..., 0] + lam * point
        hessian = ((x * curvature[:, None, :]) @ x.transpose(0, 2, 1)).astype(np.float64)
        hessian[:, range(lam.shape[1]), range(lam.shape[1])] += lam
        return value, gradient, hessian

    return objective


def log_loss(log_odds: np.ndarray, target: np.ndarray) -> float:
    """Minus the log-likelihood of 0/1 targets under log-odds of the same shape, summed.

    >>> round(log_loss(np.array([0.0, 0.0]), np.array([0, 1])), 3)  # log 2 for each
    1.386
    """
    return float(
        np.maximum(log_odds, 0).sum() + np.log1p(np.exp(-np.abs(log_odds))).sum() - log_odds[target.astype(bool)].sum()
    )


@dataclass(frozen=True, eq=False)
class ScoreStatistics:
    """Mean and deviation of each concept's score, float64, shape (concepts,), and the deviation of all scores."""

    mean: np.ndarray
    scale: np.ndarray
    unit: float

    @classmethod
    def of(cls, logits: np.ndarray, rows: np.ndarray) -> ScoreStatistics:
        """Over these rows of the scores (notes, concepts)."""
        mean = sum(part.sum(axis=0) for part in _blocks(logits, rows)) / len(rows)
        variance = sum(((part - mean) ** 2).sum(axis=0) for part in _blocks(logits, rows)) / len(rows)
        unit = float(np.sqrt(np.mean(variance + (mean - mean.mean()) ** 2)))
        scale = np.sqrt(variance)
        scale[scale < 1e-6] = 1.0  # a constant concept says nothing: x = 0
        return cls(mean, scale, max(unit, 1e-6))


def fit_shared(
    logits: np.ndarray,
    gold: np.ndarray,
    rows: np.ndarray,
    statistics: ScoreStatistics,
    cover: csr_array,
    levels: Sequence[str],
    tolerance: float = 1e-8,
    standardised: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The weights of the concepts that cover each code, in the order of `cover.data`, and the intercepts (codes,).

    Args:
        rows: the notes to fit on, indices into `logits` (notes, concepts) and `gold` (notes, codes).
        cover: (codes, concepts). levels: of the concepts.
        standardised: look at \\(x_{nk}\\) too; else at the scores in units of the deviation of all scores alone.
    """
    mean, scale, unit = statistics.mean, statistics.scale, statistics.unit
    codes = cover.shape[0]
    code = np.repeat(np.arange(codes), np.diff(cover.indptr))  # the code and the concept of each entry of the cover
    concept = cover.indices
    at_level = np.array(levels)[concept]
    entries = [np.flatnonzero(at_level == level) for level in dict.fromkeys(levels)]
    entries = [found for found in entries if len(found)]
    note, column, weight = _pairs(gold, rows)
    count = gold[rows].sum(axis=0)
    frequency = np.log((count + 0.5) / (len(rows) - count + 0.5))
    features, shares = np.zeros((2 * len(entries) + 2, len(note))), []
    for place, found in enumerate(entries):
        members = np.bincount(code[found], minlength=codes)
        shares.append(1 / members[code[found]])
        # The first members of all codes at once, then the second ones.
        first = np.concatenate([[0], np.cumsum(members)[:-1]])
        for nth in range(members.max()):
            pairs = np.flatnonzero(members[column] > nth)
            k = concept[found[first[column[pairs]] + nth]]
            s = logits[note[pairs], k].astype(np.float64)
            share = 1 / members[column[pairs]]
            features[2 * place, pairs] += share * (s - mean[k]) / scale[k] if standardised else 0.0
            features[2 * place + 1, pairs] += share * s / unit
    features[-2], features[-1] = frequency[column], 1.0
    penalty = np.full((1, len(features)), SHARED_PENALTY)
    penalty[0, -1] = 0.0  # the intercept is free
    target = gold[note, column].astype(np.float64)[None]
    objective = logistic(features[None], np.zeros((1, len(note))), target, penalty, weight)
    v = minimize(objective, np.zeros((1, len(features))), tolerance)[0]
    weights, bias = np.zeros(len(concept)), v[-2] * frequency + v[-1]
    for place, (found, share) in enumerate(zip(entries, shares, strict=True)):
        k = concept[found]
        weights[found] = share * (v[2 * place] + v[2 * place + 1] * scale[k] / unit)
        np.add.at(bias, code[found], share * v[2 * place + 1] * mean[k] / unit)
    return weights, bias


def _pairs(gold: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """The notes, the codes and the weights of the pairs to fit on; see `MAX_PAIRS`."""
    codes = gold.shape[1]
    pairs = len(rows) * codes
    if pairs <= MAX_PAIRS:
        return np.repeat(rows, codes), np.tile(np.arange(codes), len(rows)), 1.0
    note, column = np.nonzero(gold[rows])
    positive = len(note)
    drawn = np.sort(np.random.default_rng(0).integers(pairs, size=MAX_PAIRS))
    drawn = drawn[~gold[rows[drawn // codes], drawn % codes]]
    weight = np.ones(positive + len(drawn))
    weight[positive:] = (pairs - positive) / max(1, len(drawn))
    return np.append(rows[note], rows[drawn // codes]), np.append(column, drawn % codes), weight


def _blocks(logits: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BLOCK):
        yield logits[rows[start : start + BLOCK]].astype(np.float64)
