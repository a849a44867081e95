"""The order in which the gradients of the chunks of a mini-batch are summed: a binary tree.

A node (first, last) stands for the chunks first .. last - 1, and is the sum of its two halves. A
rank sums the nodes that lie within its own chunks and sends these alone. So each sum is formed in
one order, whatever the number of ranks; 2 or 4 ranks of 12 chunks send one vector each.
"""


def part_bounds(count, rank, size):
    """Return (first, last) of the part of `count` things that belongs to a rank."""
    return rank * count // size, (rank + 1) * count // size


def halves(node):
    """Return the two nodes below a node of more than one chunk."""
    first, last = node
    middle = (first + last) // 2
    return (first, middle), (middle, last)


def nodes_within(node, mine):
    """Return the largest nodes, at or below `node`, that lie within the chunks mine[0] .. mine[1].

    In order; together they are these chunks.
    """
    first, last = node
    if last <= mine[0] or mine[1] <= first:
        return []
    if mine[0] <= first and last <= mine[1]:
        return [node]
    return [found for half in halves(node) for found in nodes_within(half, mine)]


def merges(node):
    """Return, for each chunk of a node, how many times two sums are added once its own is formed.

    These are always the two that were formed last: they stand on top of a stack.
    """
    first, last = node
    if last - first == 1:
        return [0]
    counts = [count for half in halves(node) for count in merges(half)]
    counts[-1] += 1
    return counts


def height(node):
    """Return how many sums stand on that stack at most."""
    first, last = node
    if last - first == 1:
        return 1
    left, right = map(height, halves(node))
    return max(left, 1 + right)


def total(node, vectors):
    """Return the sum of a node, formed in place. vectors: arrays by node, of which it consists."""
    if node in vectors:
        return vectors[node]
    left, right = (total(half, vectors) for half in halves(node))
    left += right
    return left
