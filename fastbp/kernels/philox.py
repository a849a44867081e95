"""Philox4x32-10: random bits that are a function of a key and a counter alone.

So each number can be drawn alone, in any order and by any thread. Source: Salmon, Moraes, Dror and
Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

import numpy as np

from fastbp.kernels.dropout import low32
from fastbp.kernels.jit import kernel

ROUNDS = 10


@kernel
def high32(x):
    """Return the first 32 bits of 64."""
    return np.uint32(np.uint64(x) >> np.uint64(32))


@kernel
def product(a, b):
    """Return the 64 bits of the product of two numbers of 32 bits."""
    return np.uint64(a) * np.uint64(b)


@kernel
def philox_words(words, blocks, key, counter):
    """Write 4 * blocks random words of 32 bits to words; those of block t have the counter (t, *).

    words: a place of uint32; key: two words; counter: the last three of the four words.
    """
    for t in range(blocks):
        a, b, c, d = low32(t), low32(counter[0]), low32(counter[1]), low32(counter[2])
        k, l = low32(key[0]), low32(key[1])
        for _ in range(ROUNDS):
            first, second = product(0xD2511F53, a), product(0xCD9E8D57, c)
            a, b = high32(second) ^ b ^ k, low32(second)
            c, d = high32(first) ^ d ^ l, low32(first)
            k = low32(np.uint64(k) + np.uint64(0x9E3779B9))
            l = low32(np.uint64(l) + np.uint64(0xBB67AE85))
        words[4 * t] = a
        words[4 * t + 1] = b
        words[4 * t + 2] = c
        words[4 * t + 3] = d
