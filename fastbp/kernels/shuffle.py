"""The book's order of samples: random.shuffle of CPython, to the bit."""

import numpy as np

from fastbp.kernels.jit import driver, kernel


@kernel
def mt_refill(state):
    """Advance the 624 words of a Mersenne Twister, state[:624], by one generation."""
    for i in range(624):
        following = state[i + 1] if i < 623 else state[0]
        y = (state[i] & np.uint32(0x80000000)) | (following & np.uint32(0x7FFFFFFF))
        twisted = np.uint32(0x9908B0DF) if y & np.uint32(1) else np.uint32(0)
        state[i] = state[(i + 397) % 624] ^ (y >> np.uint32(1)) ^ twisted


@driver
def shuffle(order, state):
    """Shuffle `order` in place exactly as random.shuffle would, and advance the state likewise.

    order (n,) int64, n < 2**32; state (625,) uint32: random.getstate()[1]. CPython draws an index
    below i + 1 from as many bits as i + 1 has, and draws again while it is too large.
    """
    for i in range(order.size - 1, 0, -1):
        shift = 32
        while shift > 0 and (i + 1) >> (32 - shift) > 0:
            shift -= 1
        j = i + 1
        while j > i:
            if state[624] >= np.uint32(624):  # its position in the generation
                mt_refill(state)
                state[624] = np.uint32(0)
            y = state[state[624]]
            state[624] += np.uint32(1)
            y ^= y >> np.uint32(11)
            y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
            y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
            y ^= y >> np.uint32(18)
            j = np.int64(np.uint32(y)) >> shift
        order[i], order[j] = order[j], order[i]
