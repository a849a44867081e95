"""Answers: what the outputs of a network say, and what a test set expects them to say.

With two output neurons or more the answer is the number of the neuron with the largest output.
One output neuron answers with one of two numbers: a sigmoid neuron with 1 where its output is at
least 0.5, else 0; a tanh neuron with 1 where it is at least 0, else -1. (The book takes the argmax
over the one output, which is always 0.) One linear or relu neuron gives a number, not an answer.
"""

import numpy as np

# Of one output neuron: the answer below the threshold, the answer from it on, the threshold.
OF_ONE_NEURON = {"sigmoid": (0, 1, 0.5), "tanh": (-1, 1, 0.0)}


def answers(outputs, activation):
    """Return the answers (n,), int64, of the outputs (n, n_out) of neurons with this activation."""
    if outputs.shape[1] != 1:
        return outputs.argmax(axis=1)
    low, high, threshold = _of_one_neuron(activation)
    return np.where(outputs[:, 0] >= threshold, high, low)


def answer(output, activation):
    """Return the answer, an int, of one output: a column (n_out, 1), or numbers of any shape."""
    return int(answers(np.asarray(output).reshape(1, -1), activation)[0])


def check_has_answers(n_out, activation):
    """Raise ValueError if such an output layer gives no answers that could be right or wrong."""
    if n_out == 1:
        _of_one_neuron(activation)


def check_expected(values, activation, name):
    """Return the expected answers of one output neuron as int64, or raise.

    values: real numbers (n,). Raises ValueError that names the first that is no answer.
    """
    low, high, _ = _of_one_neuron(activation)
    wrong = np.flatnonzero((values != low) & (values != high))
    if wrong.size:
        i = wrong[0]
        hint = "for other numbers monitor the cost, not the accuracy"
        if set(np.unique(values).tolist()) <= {0, 1}:
            hint = "use 2 * y - 1"
        elif set(np.unique(values).tolist()) <= {-1, 1}:
            hint = "use (y + 1) / 2"
        raise ValueError(
            f"{name}[{i}]: the expected answer is {float(values[i]):g}, expected {low} or {high}, "
            f"the answers of one {activation} output neuron; {hint}"
        )
    return values.astype(np.int64)


def _of_one_neuron(activation):
    try:
        return OF_ONE_NEURON[activation]
    except KeyError:
        raise ValueError(
            f"the output layer is one {activation} neuron, whose output is a number and not an "
            f"answer that is right or wrong, so there is no accuracy; monitor the cost"
        ) from None
