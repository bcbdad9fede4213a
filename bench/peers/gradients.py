"""Gradients of a whole network as one vector: how far one is from another, tensor by tensor.

A gradient is given as a function from a tensor's name to its values, so that of a large network only one tensor at a time is
in float64.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """A gradient beside the exact one; a row holds ‖gradient − exact‖², ‖gradient‖², gradient · exact and ‖exact‖²."""
    rows: dict  # name -> row

    def distance(self):
        """‖gradient − exact‖ / ‖exact‖ over all tensors."""
        error, _, _, exact = self._sums()
        return math.sqrt(error / exact)

    def cosine(self):
        _, norm, product, exact = self._sums()
        return product / math.sqrt(norm * exact)

    def distance_of(self, name):
        error, _, _, exact = self.rows[name]
        return math.sqrt(error / exact)

    def _sums(self):
        return np.sum(list(self.rows.values()), axis=0)


def compare(gradient, exact):
    """gradient: function of a name; exact: name -> float64 array."""
    rows = {}
    for name, truth in exact.items():
        ours, truth = gradient(name).ravel(), truth.ravel()
        error = ours - truth
        rows[name] = (error @ error, ours @ ours, ours @ truth, truth @ truth)
    return Comparison(rows)


def taken_off(before, after):
    """The gradient that a step with rate 1 took off float32 weights."""
    return lambda name: before[name].astype(np.float64) - after[name].astype(np.float64)


def after_a_step(weights, gradient):
    """What `taken_off` makes of a float32 gradient once float32 weights have taken the step: the digits that dtrain's
    gradient loses on that way, a peer's loses too."""
    def rounded(name):
        after = (weights[name] - gradient[name].astype(np.float32)).astype(np.float32)
        return weights[name].astype(np.float64) - after.astype(np.float64)

    return rounded
