"""From Python to the kernels: an epoch, samples and rules as the compiled code takes them."""
