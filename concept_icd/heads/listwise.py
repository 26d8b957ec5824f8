r"""Linear scores fitted to orders: Plackett-Luce or LambdaRank, with a ridge that pulls towards a given order.

A list holds items; some have a place 1, 2, ..., P, the others (place 0) belong below them. With \(s = Xw\),

*Plackett-Luce* (Plackett 1975; as a loss, ListMLE, Xia et al. 2008), top-weighted: the items are drawn one after the
other, each with odds \(e^{s}\) among those not drawn yet,

\[ \ell = \sum_{i=1}^{P} v_i \Bigl[ \log \sum_{j \ge i} e^{s_j} - s_i \Bigr], \qquad
   v_i \propto 1 / \log_2(1 + i), \quad \sum_i v_i = 1 . \]

*LambdaRank* (Burges 2010) as the bound of the LambdaLoss framework (Wang et al. 2018): with the relevance
\(g_i = P - i + 1\) (0 below), ranks \(r\) by the scores before, and the best DCG of the list as the unit,

\[ \ell = \sum_{g_i > g_j} (g_i - g_j) \,\Bigl| \tfrac{1}{\log_2(1 + r_i)} - \tfrac{1}{\log_2(1 + r_j)} \Bigr|
   \, \log\bigl(1 + e^{s_j - s_i}\bigr), \]

minimised, with ranks taken anew, `ROUNDS` times. Both are convex in w for given ranks; every list counts once.
The ridge is \(\tfrac{\lambda}{2} \lVert w - w_0 \rVert^2\) in units of the features' deviations. It knows nothing of
notes or codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

Method = Literal["plackett-luce", "lambdarank"]
METHODS: tuple[Method, ...] = ("plackett-luce", "lambdarank")
ROUNDS = 3
#: Loss of the scores, and its gradient by them.
Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of items as rows of a matrix, filled up at the end.

    Attributes:
        item: the item at each place, those with a place first and in order, int, shape (lists, longest).
        there: False where a row is filled up. ranked: P, how many items have a place, shape (lists,).
    """

    item: np.ndarray
    there: np.ndarray
    ranked: np.ndarray

    @classmethod
    def of(cls, group: np.ndarray, place: np.ndarray) -> Lists:
        """From each item's list (any numbers) and place (0: below all); lists that say nothing are left out."""
        order = np.lexsort((np.where(place > 0, place, np.iinfo(np.int64).max), group))
        _, start, size = np.unique(group[order], return_index=True, return_counts=True)
        ranked = np.add.reduceat(place[order] > 0, start) if len(start) else size
        says = (ranked > 0) & (size > 1)
        start, size, ranked = start[says], size[says], ranked[says]
        column = np.arange(size.max(initial=1))
        there = column < size[:, None]
        item = order[np.where(there, start[:, None] + column, 0)] if len(start) else np.zeros(there.shape, dtype=int)
        return cls(item, there, ranked)


def fit_order(
    features: np.ndarray, lists: Lists, method: Method, ridge: float, start: np.ndarray, towards: np.ndarray
) -> np.ndarray:
    """The weights w, float64, shape (features,).

    Args:
        features: of the items, standardised, shape (items, features). ridge: \\(\\lambda\\).
        start: where the search begins. towards: \\(w_0\\).
    """
    if not len(lists.item):
        return towards.copy()
    root = _root(features, lists, ridge)
    if method == "plackett-luce":
        return _minimise(plackett_luce(lists, len(features)), features, ridge, start, towards, root)
    weights = start
    for _ in range(ROUNDS):
        weights = _minimise(lambdarank(lists, features @ weights), features, ridge, weights, towards, root)
    return weights


def _root(features: np.ndarray, lists: Lists, ridge: float) -> np.ndarray:
    """R of about the shape of the loss: in the coordinates \\(R^{-1} w\\) it is round, and L-BFGS takes few steps."""
    inside = lists.item[lists.there]
    x = features[inside]
    of = np.repeat(np.arange(len(lists.item)), lists.there.sum(axis=1))
    size = np.bincount(of)
    x -= (np.add.reduceat(x, np.append(0, np.cumsum(size)[:-1])) / size[:, None])[of]
    curvature = x.T @ (x / size[of, None]) / 2 + ridge * np.eye(x.shape[1])
    return np.asarray(np.linalg.inv(np.linalg.cholesky(curvature)).T)


def _minimise(
    loss: Loss, features: np.ndarray, ridge: float, start: np.ndarray, towards: np.ndarray, root: np.ndarray
) -> np.ndarray:
    """From `start` to the minimum of the loss plus the ridge."""
    from scipy.optimize import minimize  # a coder that is only used starts without it

    def objective(moved: np.ndarray) -> tuple[float, np.ndarray]:
        weights = start + root @ moved
        value, gradient = loss(features @ weights)
        off = weights - towards
        return value + 0.5 * ridge * float(off @ off), (gradient @ features + ridge * off) @ root

    options = {"maxiter": 200, "ftol": 1e-7, "gtol": 1e-3}
    found = minimize(objective, np.zeros(len(start)), jac=True, method="L-BFGS-B", options=options)
    return np.asarray(start + root @ found.x)


def plackett_luce(lists: Lists, items: int) -> Loss:
    """The first loss, for scores of shape (items,)."""
    column = np.arange(lists.item.shape[1])
    value = np.where(column < lists.ranked[:, None], 1 / np.log2(2 + column), 0.0)
    value /= value.sum(axis=1, keepdims=True)
    used, inside, filled = value > 0, lists.item[lists.there], np.where(lists.there, 0.0, -np.inf)

    def loss(scores: np.ndarray) -> tuple[float, np.ndarray]:
        s = scores[lists.item] + filled
        s = np.maximum(s - s.max(axis=1, keepdims=True), -500.0)
        e = np.exp(s) * lists.there
        left = np.maximum(np.cumsum(e[:, ::-1], axis=1)[:, ::-1], 1e-300)  # of those not drawn yet
        total = (value[used] * (np.log(left[used]) - s[used])).sum()
        gradient = e * np.cumsum(value / left, axis=1) - value
        return float(total), np.bincount(inside, gradient[lists.there], items)

    return loss


def lambdarank(lists: Lists, before: np.ndarray) -> Loss:
    """The second loss, for scores of the shape of `before`, which give the ranks."""
    s = np.where(lists.there, before[lists.item], -np.inf)
    rank = np.empty(s.shape)
    np.put_along_axis(rank, np.argsort(-s, axis=1, kind="stable"), np.arange(1.0, s.shape[1] + 1)[None, :], axis=1)
    column = np.arange(s.shape[1])
    gain = np.maximum(lists.ranked[:, None] - column, 0.0)
    gain /= (gain / np.log2(2 + column)).sum(axis=1, keepdims=True)
    better, worse, weight = [], [], []
    for place in range(int(lists.ranked.max())):  # every item with this place against all after it
        row, other = np.nonzero(lists.there[:, place + 1 :] & (place < lists.ranked)[:, None])
        other += place + 1
        discount = np.abs(1 / np.log2(1 + rank[row, place]) - 1 / np.log2(1 + rank[row, other]))
        better.append(lists.item[row, place])
        worse.append(lists.item[row, other])
        weight.append((gain[row, place] - gain[row, other]) * discount)
    i, j, v = np.concatenate(better), np.concatenate(worse), np.concatenate(weight)

    def loss(scores: np.ndarray) -> tuple[float, np.ndarray]:
        behind = scores[j] - scores[i]
        slope = v * expit(behind)
        gradient = np.bincount(j, slope, len(scores)) - np.bincount(i, slope, len(scores))
        return float((v * np.logaddexp(0, behind)).sum()), gradient

    return loss
