"""Several processes that train one network together, by MPI, and a model of what that costs."""
