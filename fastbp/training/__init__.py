"""The training loop over the kernels, and what a run consists of: threads, signals, checkpoints."""
