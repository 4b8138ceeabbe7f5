"""One level of an MgNet, and the ways from level to level: none knows what its operators are.

The data f lives on the dual side, the features u on the primal one: a :class:`Level` corrects u by what the
residual f − A u says, a :class:`Transfer` takes both to the next grid, a :class:`Return` brings u back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

__all__ = ["Level", "Norm", "Return", "Transfer"]

Norm = Callable[[], nn.Module]


class Level(nn.Module):
    """One grid, with ``nu`` iterations u ← u + σ(bn(B σ(bn(f − A u)))).

    A takes features to data and B data to features, one B for all iterations or one for each. ``norm`` makes
    a bn, two for each iteration, and σ may work in place if they do not return what they got.
    """

    def __init__(
        self, A: nn.Module, B: Iterable[nn.Module], nu: int, norm: Norm, activation: nn.Module
    ) -> None:
        super().__init__()
        self.A, self.B = A, nn.ModuleList(B)
        self.residual_norms = nn.ModuleList(norm() for _ in range(nu))
        self.correction_norms = nn.ModuleList(norm() for _ in range(nu))
        self.activation = activation

    def residual(self, u: Tensor | None, f: Tensor) -> Tensor:
        """Return f − A u; features that are None are zero, which A need not be applied to."""
        return f if u is None else f - self.A(u)

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor:
        """Return the features after all iterations from those before, where None is zero, and data."""
        sigma = self.activation
        for i, (bn_r, bn_u) in enumerate(zip(self.residual_norms, self.correction_norms, strict=True)):
            B = self.B[i % len(self.B)]
            correction = sigma(bn_u(B(sigma(bn_r(self.residual(u, f))))))  # eq: mgnet-smoothing
            u = correction if u is None else u + correction
        assert u is not None
        return u


class Transfer(nn.Module):
    """From one grid to the next: u′ = σ(bn(Π u)) and f′ = σ(bn(R(f − A u))) + A′ u′; no Π is zero."""

    def __init__(self, Pi: nn.Module | None, R: nn.Module, norm: Norm, activation: nn.Module) -> None:
        super().__init__()
        self.Pi, self.R = Pi, R
        self.feature_norm = None if Pi is None else norm()
        self.data_norm = norm()
        self.activation = activation

    def forward(self, u: Tensor, f: Tensor, fine: Level, coarse: Level) -> tuple[Tensor | None, Tensor]:
        """Return features u′, which may be None for zero, and data f′ of the coarser grid."""
        sigma, bn_u, bn_f = self.activation, self.feature_norm, self.data_norm
        r = fine.residual(u, f)
        if self.Pi is None or bn_u is None:
            return None, sigma(bn_f(self.R(r)))
        u_next = sigma(bn_u(self.Pi(u)))
        f_next = sigma(bn_f(self.R(r))) + coarse.A(u_next)  # eq: mgnet-restriction
        return u_next, f_next


class Return(nn.Module):
    """Back to the finer grid: u ← u + P(u′ − Π u), P given the shape too, then the level's iterations."""

    def __init__(self, P: nn.Module, level: Level) -> None:
        super().__init__()
        self.P, self.level = P, level

    def forward(self, coarse_u: Tensor, u: Tensor, f: Tensor, transfer: Transfer) -> Tensor:
        """Return the features of the finer grid, by those of the coarser one.

        u and f are features and data of the finer grid on the way down, and the transfer is between the two.
        """
        correction = coarse_u if transfer.Pi is None else coarse_u - transfer.Pi(u)
        return self.level(u + self.P(correction, u.shape[2:]), f)
