"""What a step does beyond following the gradient: as asked for, and as the kernels take it.

Source: book, chapter 3; Srivastava and others 2014 (dropout, max-norm).
"""

import dataclasses

import numpy as np

from fastbp.kernels import lagging, layout, optimizer

# How long inputs may lag, see period_of
PERIOD_FLOPS, MOST_PERIOD, LARGE_DECAY = 2e9, 1000, 0.01


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a step does beyond following the gradient; nothing, by default.

    l2, l1: the regularisation of weights, lmbda/n each; momentum: 0..1, in Nesterov's form or the
    book's; dropout: for each layer, input first, the share of neurons that a sample does without
    (the output layer's is 0), by the number `key`; max_norm: the length to which the weights into
    a neuron are shortened.
    """

    l2: float = 0.0
    l1: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    dropout: tuple = ()
    key: int = 0
    max_norm: float | None = None


NO_RULES = Rules()


def period_of(rules, eta, flops):
    """Return after how many mini-batches no input lags any more; see lagging.py.

    1 with L1, whose step is not linear; with max-norm, which needs all weights after each step; and
    where a scale would vanish. It follows from the work alone, and every call of a driver takes a
    multiple of it, so that no bit depends on when a call ends.
    """
    vanishes = not rules.momentum and abs(eta * rules.l2) > LARGE_DECAY
    if rules.l1 or rules.max_norm or vanishes or not (rules.l2 or rules.momentum):
        return 1
    return int(min(MOST_PERIOD, max(1, PERIOD_FLOPS / flops)))


def kernel_rules(rules, state, sizes, eta, period):
    """Return what the kernels take for Rules: an optimizer.Rules, or None where there are none."""
    if rules == NO_RULES:
        return None
    dtype = state[0].dtype
    velocity = state[1] if len(state) > 1 else layout.zeros(1, dtype)
    decay = float(rules.l2), float(rules.momentum), int(rules.nesterov), float(eta)
    return optimizer.Rules(
        float(rules.l2), float(rules.l1), float(rules.momentum), int(rules.nesterov),
        float(rules.max_norm or 0.0), np.array(rules.dropout or (0.0,) * len(sizes), np.float64),
        int(rules.key), velocity, period, lagging.powers_of(*decay, period, dtype),
        *lagging.inputs_table(sizes),
    )  # fmt: skip
