"""What is done about weights that become NaN or infinite: training ends, with the last finite ones.

To look at all weights after each mini-batch would cost too much. They are looked at now and then,
and copied where they are finite; if they are not, training goes back to the copy.
"""

import copy
import time

import numpy as np

from fastbp.data import parameters

CHECK_COST = 200  # training takes so many times as long as looking at the weights
REFERENCE_SECONDS = 0.1  # how often the reference path looks at the weights


class Diverged(Exception):
    """The weights became NaN or infinite; `before`: so many samples of the order were fine."""

    def __init__(self, before):
        super().__init__(before)
        self.before = before


class FiniteGuard:
    """Keeps copies of the arrays that training changes, as they last were finite.

    arrays: these; samples_done: how many samples were done when the copies were made.
    """

    def __init__(self, arrays):
        self.arrays, self.samples_done = arrays, 0
        self.copies = [array.copy() for array in arrays]
        self.seconds = self.cost = 0.0

    def is_due(self, seconds):
        """Tell whether it is time to look, after so many seconds more of training."""
        self.seconds += seconds
        return self.seconds >= CHECK_COST * self.cost

    def check(self, samples_done):
        """Tell whether all numbers are finite after so many samples; if so, copy them."""
        began = time.perf_counter()
        if not self.is_finite():
            return False
        self._keep(samples_done)
        self.seconds, self.cost = 0.0, time.perf_counter() - began
        return True

    def is_finite(self):
        """Tell whether all numbers are finite now."""
        return all(np.isfinite(array).all() for array in self.arrays)

    def restore(self):
        """Go back to the copies; return how many samples were done when they were made."""
        for kept, array in zip(self.copies, self.arrays):
            np.copyto(array, kept)
        return self.samples_done

    def find_last_finite(self, call, order, m, period):
        """Go back to the copies, then step by step to the mini-batch that ends finite weights.

        Returns how many samples came before it; the state is that of this moment. The same calls
        give the same bits; calls shorter than a period need not.
        """
        done = self.restore()
        for size in sorted({period * m, m}, reverse=True):
            while done < len(order):
                call(order, done, min(done + size, len(order)))
                if not self.is_finite():
                    done = self.restore()
                    break
                done = min(done + size, len(order))
                self._keep(done)
        return done

    def _keep(self, samples_done):
        self.samples_done = samples_done
        for kept, array in zip(self.copies, self.arrays):
            np.copyto(kept, array)


class ReferenceFiniteGuard:
    """The same on the reference path: copies of a network's weights, whatever their types are."""

    def __init__(self, net):
        self.net, self.copied_at = net, None

    def check(self, samples_done, now=False):
        """Copy the weights if they are finite; else restore the copies and raise Diverged.

        Without `now` only if the last copies are old.
        """
        net, moment = self.net, time.monotonic()
        is_first = self.copied_at is None
        if not (is_first or now or moment - self.copied_at >= REFERENCE_SECONDS):
            return
        if not is_first and not parameters.all_finite(net.weights, net.biases):
            net.weights, net.biases = self.copies
            raise Diverged(self.samples_done)
        self.copies = copy.deepcopy((net.weights, net.biases))
        self.copied_at, self.samples_done = moment, samples_done
