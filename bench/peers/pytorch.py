"""PyTorch: automatic differentiation, eager and compiled; and the four equations by hand."""

from bench.peers.base import Peer


class Torch(Peer):
    """What both peers share: tensors in memory, one gather per epoch."""

    needs = ("torch",)

    def load(self):
        import torch

        super().load()
        torch.set_num_threads(self.n_threads)
        self.torch = torch
        self.X, self.Y = torch.from_numpy(self.X), torch.from_numpy(self.Y)

    def reset(self):
        self.weights, self.biases = (
            [self.torch.from_numpy(p) for p in part] for part in self.workload.initial()
        )

    def train(self, orders):
        m = self.workload.m
        for order in orders:
            order = self.torch.from_numpy(order)
            X, Y = self.X.index_select(0, order), self.Y.index_select(0, order)
            for x, y in zip(X.split(m), Y.split(m)):
                self.step(x, y)

    @staticmethod
    def environment(threads, arguments):
        return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


class TorchAutograd(Torch):
    """Automatic differentiation: eager with each kind of SGD, or the whole step compiled.

    The compiled variant traces loss, gradient and step into one graph.
    """

    name = "PyTorch autograd"
    threads = "best"
    caches = ("TORCHINDUCTOR_CACHE_DIR",)
    variants = {
        "SGD(fused)": dict(fused=True),
        "SGD(foreach)": dict(foreach=True),
        "SGD(plain)": dict(foreach=False),
        "compiled step": {},
    }
    slow_to_compile = ("compiled step",)

    def __init__(self, workload, threads, **optimizer):
        self.optimizer = optimizer
        super().__init__(workload, threads)

    def load(self):
        super().load()
        if not self.optimizer:
            self.torch._dynamo.reset()  # else it counts the shapes of earlier work as recompiling
            self.compiled = self.torch.compile(self._whole_step, fullgraph=True, dynamic=False)

    def _loss(self, P, x, y):
        functional, a = self.torch.nn.functional, x
        for w, b in zip(P[::2], P[1::2]):
            a = self.torch.sigmoid(functional.linear(a, w, b))
        return functional.mse_loss(a, y, reduction="sum") * (0.5 / self.workload.m)

    def _whole_step(self, P, x, y):
        gradient = self.torch.func.grad(self._loss)(P, x, y)
        for p, g in zip(P, gradient):
            p.sub_(g, alpha=self.workload.eta)

    def reset(self):
        super().reset()
        self.P = [p for pair in zip(self.weights, self.biases) for p in pair]
        if self.optimizer:
            self.P = [self.torch.nn.Parameter(p) for p in self.P]
            self.sgd = self.torch.optim.SGD(self.P, lr=self.workload.eta, **self.optimizer)

    def step(self, x, y):
        if self.optimizer:
            self.sgd.zero_grad(set_to_none=True)
            self._loss(self.P, x, y).backward()
            self.sgd.step()
        else:
            with self.torch.no_grad():
                self.compiled(self.P, x, y)

    def parameters(self):
        arrays = [p.detach().numpy() for p in self.P]
        self.weights, self.biases = arrays[::2], arrays[1::2]
        return super().parameters()


class TorchByHand(Torch):
    """The four equations written out, in place, into tensors made beforehand."""

    name = "PyTorch by hand"
    threads = "any"

    def reset(self):
        super().reset()
        m, sizes = self.workload.m, self.workload.sizes
        self.A, self.Delta = (
            [self.torch.empty(m, n, dtype=self.X.dtype) for n in sizes] for _ in range(2)
        )
        self.sums = [self.torch.empty(n, dtype=self.X.dtype) for n in sizes]
        self.w_transposed = [w.t() for w in self.weights]
        self.Delta_transposed = [d.t() for d in self.Delta]

    def train(self, orders):
        with self.torch.no_grad():
            super().train(orders)

    def step(self, x, y):
        torch, A, Delta, rate = self.torch, self.A, self.Delta, self.workload.eta / self.workload.m
        A[0] = x
        top = len(self.weights)
        for l in range(top):
            torch.addmm(self.biases[l], A[l], self.w_transposed[l], out=A[l + 1]).sigmoid_()
        torch.sub(A[top], y, out=Delta[top])
        for l in range(top, 0, -1):
            torch.ops.aten.sigmoid_backward.grad_input(Delta[l], A[l], grad_input=Delta[l])
            if l > 1:
                torch.mm(Delta[l], self.weights[l - 1], out=Delta[l - 1])
            self.weights[l - 1].addmm_(self.Delta_transposed[l], A[l - 1], alpha=-rate)
            torch.sum(Delta[l], 0, out=self.sums[l])
            self.biases[l - 1].sub_(self.sums[l], alpha=rate)
