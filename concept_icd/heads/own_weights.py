r"""A code's own part \((d_c, e_c)\) beside the shared model (see `aggregator`): two solvers of the same problem.

`fit_on_path`: only the concepts that cover the code move, a handful for each code, so that the problems of all codes
are tiny; they are solved together, by Newton's method, some codes at a time. `fit_on_all`: every concept moves for
every code; one large problem, solved by L-BFGS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from concept_icd.heads.newton import log_loss, logistic, minimise
from concept_icd.heads.shared_model import ScoreStatistics

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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
        tolerance: see `minimise`. precision: float32 is faster, and enough to compare penalties.
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
            own = minimise(logistic(features, offset, target, lam), own, tolerance)
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
