r"""
Tensors and their gradients
===========================

A tensor is an array that can remember how it was computed. From this memory torch finds derivatives: it walks
the computation backwards and multiplies, step by step, by the derivative of each operation. This page looks
at the rules of that walk, adds an operation of its own, and ends with an operation that is a whole solver.

:Lecture systems: T1
:Chapter: :doc:`/book/tensors`

Each gradient that torch gives is compared with one that it had no part in: a formula, difference quotients,
or Green's function of the string.
"""

# %%
# Tensors
# -------
# A tensor comes from a list or from a NumPy array, and arithmetic acts on it entry by entry. Numbers with a
# point become ``float32`` unless another type is asked for, which is the usual choice for networks and too
# coarse for most of numerical analysis. :func:`torch.from_numpy` shares memory with the array instead of
# copying it.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

x = torch.tensor([[1, 2], [3, 4]])
array = np.array([[1.0, 2.0], [3.0, 4.0]])
y = torch.from_numpy(array)
print(x.dtype, y.dtype, torch.zeros(2, 2).dtype)
print(y - 2 * x)
print(y @ y)

assert torch.equal(y @ y, torch.tensor([[7.0, 10.0], [15.0, 22.0]], dtype=torch.float64))
array[0, 0] = -1.0
assert y[0, 0] == -1.0  # the same memory

# %%
# The chain rule, done by the machine
# -----------------------------------
# A tensor with ``requires_grad=True`` is a variable: what is computed from it keeps a reference to the
# operation that made it. For :math:`z = (x \cdot y)^2` the derivative is :math:`\partial z / \partial x = 2
# (x \cdot y)\, y`.

x = torch.tensor([1.0, 0.0], requires_grad=True)
y = torch.tensor([1.0, 1.0])
dot = x @ y
z = dot**2
print(dot.requires_grad, z.grad_fn.name())

(gradient,) = torch.autograd.grad(z, x)
print("autograd:", gradient, " by hand:", (2 * dot * y).detach())
assert torch.equal(gradient, 2 * dot.detach() * y)

# %%
# When the result is a vector there is a matrix of derivatives, the Jacobian :math:`J`. The backward walk
# never forms it. It takes a vector :math:`v` and gives :math:`J^T v`. The price is a small multiple of that
# of an evaluation, however many variables there are. A scalar is the case :math:`v = 1`.

t = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
v = torch.tensor([1.0, -2.0, 3.0])


def mixed(t):
    return torch.stack([t[0] * t[1], t[1] * t[2], t.sum()])


(product,) = torch.autograd.grad(mixed(t), t, grad_outputs=v)
J = torch.autograd.functional.jacobian(mixed, t)
print(J)
print("Jᵀv:", product)
assert torch.equal(product, J.T @ v)

# %%
# Gradients are added up
# ----------------------
# ``backward`` puts the gradient into the field ``grad`` of every variable, and it *adds* to what is there. A
# second call doubles it. This is a frequent slip in a loop of one's own, and the reason for ``zero_grad``; it
# is also useful, since the gradient of a large batch can be collected from small ones that fit into memory.

x = torch.tensor([1.0, 0.0], requires_grad=True)
(x @ y).square().backward()
once = x.grad.clone()
(x @ y).square().backward()
print("after one call:", once, " after two:", x.grad)
assert torch.equal(x.grad, 2 * once)

layer = torch.nn.Linear(4, 1, dtype=torch.float64)
rows = torch.randn(60, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
layer(rows).square().mean().backward()
whole = layer.weight.grad.clone()
layer.zero_grad()
for part in rows.split(15):
    (layer(part).square().mean() / 4).backward()
difference = float((layer.weight.grad - whole).abs().max())
print(f"one batch of 60 against four of 15: {difference:.1e}")
assert difference < 1e-14

# %%
# The memory of a computation is freed as the walk goes through it, so a second walk over the *same* result is
# refused unless the first one said ``retain_graph=True``.

z = (x @ y).square()
z.backward(retain_graph=True)
z.backward()
try:
    z.backward()
except RuntimeError as error:
    print(str(error).split(".")[0])
else:
    raise AssertionError("a third walk should have been refused")

# %%
# An operation of our own
# -----------------------
# A :class:`torch.autograd.Function` states two rules: how to compute the result, and how to turn the
# derivative by the result into the derivative by the input. Here is the rectifier :math:`\max(x, 0)`. Its
# derivative is 0 on the left and 1 on the right. At the kink there is none; every number from 0 to 1 is a
# subgradient, and torch takes 0.


class Rectifier(torch.autograd.Function):
    """max(x, 0), entry by entry."""

    @staticmethod
    def forward(ctx, x):
        """Compute it, and keep what the backward rule needs."""
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        """Multiply by the derivative."""
        (x,) = ctx.saved_tensors
        return gradient * (x > 0)


x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
ours, theirs = Rectifier.apply(x), torch.relu(x)
(slope,) = torch.autograd.grad(ours.sum(), x)
(torchs,) = torch.autograd.grad(theirs.sum(), x)
assert torch.equal(ours, theirs) and torch.equal(slope, torchs)

# %%
# Agreeing with torch is one check. Another, which needs no second implementation, compares with difference
# quotients :math:`(r(x + \delta) - r(x - \delta)) / 2\delta`: :func:`torch.autograd.gradcheck` does this for
# any function, away from kinks. A rule that is wrong, one that forgets to look at the sign, does not pass.


class Careless(Rectifier):
    """The same with a wrong rule."""

    @staticmethod
    def backward(ctx, gradient):
        """Forget the sign of x."""
        return gradient


away = x.detach()[x.detach().abs() > 0.05].requires_grad_()
assert torch.autograd.gradcheck(Rectifier.apply, away)
assert not torch.autograd.gradcheck(Careless.apply, away, raise_exception=False)

delta = 0.02
points = x.detach()
quotient = (Rectifier.apply(points + delta) - Rectifier.apply(points - delta)) / (2 * delta)
at_kink = int(points.abs().argmin())
print(f"at the kink: autograd {slope[at_kink]:.1f}, difference quotient {quotient[at_kink]:.1f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.6), layout="constrained", sharex=True)
left.plot(points, ours.detach(), "k-", label="our operation")
left.plot(points[::4], theirs.detach()[::4], "o", color="tab:blue", mfc="none", label="torch.relu")
left.set(xlabel="x", ylabel="r(x)", title="The rectifier")
right.plot(points, slope, "k.", label="backward rule")
right.plot(points, quotient, "s", color="tab:orange", mfc="none", label="difference quotient")
right.set(xlabel="x", ylabel="r′(x)", title="Its derivative: they differ at the kink alone")
for ax, corner in ((left, "upper left"), (right, "lower right")):
    ax.legend(loc=corner, fontsize="small")
    ax.grid(alpha=0.3)
plt.show()

# %%
# A solver as one operation
# -------------------------
# The same mechanism lets gradients flow through :func:`mgnet.solve`. Its backward rule does not repeat the
# steps of the iteration: a linear system is differentiated by solving it once more, :eq:`adjoint`.
#
# A string under the load :math:`f` sags by :math:`-u'' = f`, with :math:`u = 0` at its ends. How much does
# the sag at one point :math:`x_0` change with the load at each node? Mathematics knows the answer as Green's
# function,
#
# .. math:: G(x_0, x) = \min(x_0, x)\,\bigl(1 - \max(x_0, x)\bigr),
#
# and a load that is lumped at a node, :eq:`load-nodal`, counts with the width :math:`h` of a cell. One
# backward walk gives all nodes.

n, place = 64, 16
load = torch.ones(n + 1, dtype=torch.float64, requires_grad=True)
sol = mgnet.solve(load, n=n)
sol.u[place].backward()

nodes = np.linspace(0, 1, n + 1)
green = np.minimum(nodes[place], nodes) * (1 - np.maximum(nodes[place], nodes))
error = float(np.abs(load.grad.numpy() * n - green).max())
print(f"gradient against Green's function: {error:.1e}")
assert error < 1e-13

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.plot(nodes, green, "k-", label="Green's function $G(x_0, x)$")
ax.plot(
    nodes[::2],
    n * load.grad[::2],
    "o",
    color="tab:blue",
    mfc="none",
    label="gradient by autograd, divided by h",
)
ax.axvline(nodes[place], color="0.6", linestyle=":")
ax.annotate("$x_0$", (nodes[place], 0.0), xytext=(4, 2), textcoords="offset points")
ax.set(xlabel="x", ylabel="change of the sag at $x_0$")
ax.set_title("Where a load makes the string sag at $x_0$: one backward walk through the solver")
ax.legend()
ax.grid(alpha=0.3)
plt.show()
