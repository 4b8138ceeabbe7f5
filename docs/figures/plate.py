"""The plate of the page 'Getting started', with lines of equal temperature."""

import matplotlib.pyplot as plt
import numpy as np

import mgnet

middle = (np.arange(256) + 0.5) / 256
disc = (middle[:, None] - 0.4) ** 2 + (middle - 0.5) ** 2 < 0.25**2
sol = mgnet.solve(
    n=256,
    dim=2,
    a=np.where(disc, 100.0, 1.0),
    boundary={
        "left": mgnet.Dirichlet(1.0),
        "right": mgnet.Robin(5.0, 0.0),
        "bottom": mgnet.Neumann(0.0),
        "top": mgnet.Neumann(lambda x, y: 2 * (x > 0.5)),
    },
)
figure, ax = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
sol.plot(ax=ax)
ax.contour(*sol.x, sol.u.T, levels=20, colors="white", linewidths=0.5)
plt.show()
