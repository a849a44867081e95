"""What a step does beyond following the gradient: as asked for, and as the kernels take it.

Source: book, chapter 3; Srivastava and others 2014 (dropout, max-norm).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fastbp.kernels import lagging, layout, optimizer

# How long inputs may lag, see period_of
PERIOD_FLOPS, MOST_PERIOD, LARGE_DECAY = 2e9, 1000, 0.01


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a step does beyond following the gradient; nothing, by default.

    l2, l1: the regularisation of weights, lmbda/n each; momentum: 0..1, in Nesterov's form or the
    book's; adam: whether steps are Adam's, with momentum for beta_1, beta2 and epsilon; dropout:
    for each layer, input first, the share of neurons that a sample does without (the output layer's
    is 0), by the number `key`; max_norm: the length to which the weights into a neuron are
    shortened.
    """

    l2: float = 0.0
    l1: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    dropout: tuple = ()
    key: int = 0
    max_norm: float | None = None
    adam: bool = False
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def only_gradient(self):
        """Tell whether weights move by their gradient alone, but for dropout and max-norm."""
        return not (self.l2 or self.l1 or self.momentum or self.adam)

    @property
    def n_moments(self):
        """Return how many vectors like the parameters are kept from step to step."""
        return 2 if self.adam else 1 if self.momentum else 0


NO_RULES = Rules()


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """How the steps of a call are taken.

    m: samples per mini-batch; eta: the learning rate; moments: flat vectors like the parameters,
    changed in place with them: the velocity where rules have momentum, the two moments of Adam;
    steps_before: how many steps the run took before the call; check: whether weights that are no
    longer finite raise Diverged.
    """

    m: int
    eta: float
    rules: Rules = NO_RULES
    moments: Sequence[np.ndarray] = ()
    steps_before: int = 0
    check: bool = True


def period_of(rules, eta, flops):
    """Return after how many mini-batches no input lags any more; see lagging.py.

    1 with L1 and Adam, whose steps are not linear; with max-norm, which needs all weights after
    each step; and where a scale would vanish. It follows from the work alone, and every call of a
    driver takes a multiple of it, so that no bit depends on when a call ends.
    """
    vanishes = not rules.momentum and abs(eta * rules.l2) > LARGE_DECAY
    if rules.l1 or rules.adam or rules.max_norm or vanishes or not (rules.l2 or rules.momentum):
        return 1
    return int(min(MOST_PERIOD, max(1, PERIOD_FLOPS / flops)))


def kernel_rules(
    rules, packed, sizes, eta, period, steps=0, sample_weight=None, losses=None, cost=-1
):
    """Return what the kernels take for Rules: KernelRules, or None where there are none.

    packed: the weights and, after them, the velocity or Adam's two moments, packed; steps: how many
    Adam has taken before the call; the others: see optimizer.KernelRules.
    """
    if rules == NO_RULES and sample_weight is None and losses is None:
        return None
    dtype, none = packed[0].dtype, layout.zeros(1, packed[0].dtype)
    velocity, first, second = none, none, none
    if rules.adam:  # the velocity is a workspace
        velocity, first, second = layout.zeros(packed[0].size, dtype), *packed[1:]
    elif rules.momentum:
        velocity = packed[1]
    decay = float(rules.l2), float(rules.momentum), int(rules.nesterov), float(eta)
    return optimizer.KernelRules(
        float(rules.l2), float(rules.l1), float(rules.momentum), int(rules.nesterov),
        int(rules.adam), float(rules.beta2), float(rules.epsilon), int(steps),
        float(rules.max_norm or 0.0), np.array(rules.dropout or (0.0,) * len(sizes), np.float64),
        int(rules.key), velocity, first, second, period,
        lagging.powers_of(*decay, period, dtype), *lagging.inputs_table(sizes),
        none if sample_weight is None else sample_weight, int(sample_weight is not None),
        np.zeros(1) if losses is None else losses, -1 if losses is None else cost,
    )  # fmt: skip
