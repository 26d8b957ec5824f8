"""Random matrices for the parity tests: a few notes and codes, with ties, empty rows and empty columns among them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SHAPES = st.tuples(st.integers(1, 12), st.integers(2, 9))


@st.composite
def tied(draw):
    """Gold and probabilities on a coarse grid, so that ties are common."""
    shape = draw(SHAPES)
    gold = draw(arrays(np.int8, shape, elements=st.integers(0, 1)))
    steps = draw(arrays(np.int8, shape, elements=st.integers(0, 8)))
    return gold, steps / 8


@st.composite
def distinct(draw):
    """Gold and probabilities without ties."""
    shape = draw(SHAPES)
    gold = draw(arrays(np.int8, shape, elements=st.integers(0, 1)))
    cells = shape[0] * shape[1]
    order = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).permutation(cells)
    return gold, (order.reshape(shape) + 0.5) / cells
