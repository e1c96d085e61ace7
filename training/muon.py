"""Muon: momentum, then the nearest orthogonal matrix, for the 2-D weights inside the layers (Jordan et al., 2024).

Matrices of one shape are orthogonalised together in one batched Newton-Schulz iteration.
"""

from collections import defaultdict

import torch

# Coefficients of Amsel et al., "The Polar Express" (2025), for the first steps of the quintic iteration.
STEPS = [
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
]


def orthogonal(m):
    """`m [n, rows, cols]` -> matrices with the same singular vectors and singular values near 1."""
    tall = m.shape[-2] > m.shape[-1]
    x = m.mT if tall else m
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in STEPS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01, momentum=0.95, weight_decay=0.01, half=None):
        """`half` is the number type of the iteration; f32 by default."""
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.half = half

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = defaultdict(list)
            for p in group["params"]:
                shapes[tuple(p.shape)].append(p)
            for (rows, cols), params in shapes.items():
                for p in params:
                    self.state[p].setdefault("momentum", torch.zeros_like(p))
                gradients, momenta = [p.grad for p in params], [self.state[p]["momentum"] for p in params]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                stacked = torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"]))  # Nesterov
                steps = orthogonal(stacked.to(self.half or stacked.dtype)).to(stacked.dtype)
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(params, list(steps), alpha=-group["lr"] * max(1.0, rows / cols) ** 0.5)
