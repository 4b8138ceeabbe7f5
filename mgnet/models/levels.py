"""One level of an MgNet, and the ways from level to level: none knows what its operators are.

The data f lives on the dual side, the features u on the primal one, and on each grid u is corrected by what
the residual f − A u says, :class:`Level`. A :class:`Transfer` takes both to the next coarser grid, and
:class:`Return` brings corrections back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

__all__ = ["Level", "Norm", "Return", "Transfer"]

Norm = Callable[[], nn.Module]


class Level(nn.Module):
    """One grid, with the iteration u ← u + σ(bn(B σ(bn(f − A u)))).

    Parameters
    ----------
    A : torch.nn.Module
        From features to data.
    B : iterable of torch.nn.Module
        From data to features: one for all iterations, or one for each.
    nu : int
        How many iterations.
    norm : callable
        Makes a norm (bn), two for each iteration.
    activation : torch.nn.Module
        σ, which may work in place if the norms do not return what they got.
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
        """Return f − A u, of the shape (N, C, ...) of the data f.

        Features u that are None are zero, which A need not be applied to.
        """
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
    """From one grid to the next: u′ = σ(bn(Π u)) and f′ = σ(bn(R(f − A u))) + A′ u′.

    Parameters
    ----------
    Pi : torch.nn.Module or None
        From features to coarser ones; None is zero.
    R : torch.nn.Module
        From residuals to coarser data.
    norm : callable
        Makes a norm (bn).
    activation : torch.nn.Module
        σ, which may work in place.
    """

    def __init__(self, Pi: nn.Module | None, R: nn.Module, norm: Norm, activation: nn.Module) -> None:
        super().__init__()
        self.Pi, self.R = Pi, R
        self.feature_norm = None if Pi is None else norm()
        self.data_norm = norm()
        self.activation = activation

    def forward(self, u: Tensor, f: Tensor, fine: Level, coarse: Level) -> tuple[Tensor | None, Tensor]:
        """Return features and data of the coarser grid, u′ and f′, from those of the finer one.

        u′ may be None, which is zero.
        """
        sigma, bn_u, bn_f = self.activation, self.feature_norm, self.data_norm
        r = fine.residual(u, f)
        if self.Pi is None or bn_u is None:
            return None, sigma(bn_f(self.R(r)))
        u_next = sigma(bn_u(self.Pi(u)))
        f_next = sigma(bn_f(self.R(r))) + coarse.A(u_next)  # eq: mgnet-restriction
        return u_next, f_next


class Return(nn.Module):
    """From one grid back to the finer one: u ← u + P(u′ − Π u), then the iterations of the finer level.

    Parameters
    ----------
    P : torch.nn.Module
        From coarser features to finer ones; called with the shape that it has to give.
    level : Level
        The iterations that follow.
    """

    def __init__(self, P: nn.Module, level: Level) -> None:
        super().__init__()
        self.P, self.level = P, level

    def forward(self, coarse_u: Tensor, u: Tensor, f: Tensor, transfer: Transfer) -> Tensor:
        """Return the features of the finer grid, by those of the coarser one.

        u and f are features and data of the finer grid on the way down, and the transfer is between the two.
        """
        correction = coarse_u if transfer.Pi is None else coarse_u - transfer.Pi(u)
        return self.level(u + self.P(correction, u.shape[2:]), f)
