"""How the running mean of batch normalisation follows the batches."""

import matplotlib.pyplot as plt
import torch

from mgnet.layers import BatchNorm

steps, size = 120, 16
generator = torch.Generator().manual_seed(0)
# The features drift, as they do while the layers before them learn, and then stay.
true = torch.linspace(0, 3, 60).clamp(max=2.0)
true = torch.cat([true, torch.full((steps - 60,), 2.0)])
batches = true[:, None] + torch.randn(steps, size, generator=generator)

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.plot(batches.mean(1), ".", color="0.6", label="mean of each batch")
ax.plot(true, color="black", linewidth=1, label="mean of all features")
for momentum, style in ((0.1, "-"), (0.02, "--"), (None, ":")):
    norm, running = BatchNorm(1, momentum=momentum), []
    for batch in batches:
        norm(batch[:, None])
        running.append(norm.running_mean.item())
    name = "mean of all batches so far" if momentum is None else f"running, momentum {momentum}"
    ax.plot(running, style, linewidth=2, label=name)
ax.set_xlabel("batch")
ax.set_ylabel("mean of one channel")
ax.set_title("Running means follow features that drift, some late")
ax.grid(alpha=0.3)
ax.legend(fontsize="small")
plt.show()
