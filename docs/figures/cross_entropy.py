"""Losses of two classes, and the cross-entropy as entropy and divergence."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")

margin = torch.linspace(-3, 3, 301)
# Scores (margin, 0), and the first class is the true one.
scores = torch.stack([margin, torch.zeros_like(margin)], 1)
cross = F.cross_entropy(scores, torch.zeros(301, dtype=torch.long), reduction="none")
left.plot(margin, cross, label="cross-entropy")
left.plot(margin, (1 - margin) ** 2, "--", label="square of (1 − margin)")
left.step(margin, (margin < 0).float(), "k:", label="wrong or right")
left.set_xlabel("margin of the true class")
left.set_ylabel("loss")
left.set_ylim(-0.1, 4)
left.set_title("Three losses of one example")
left.legend(fontsize="small")

p, q = 0.3, np.linspace(0.01, 0.99, 300)
cross_entropy = -p * np.log(q) - (1 - p) * np.log(1 - q)
entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
right.plot(q, cross_entropy, label="cross-entropy H(p, q)")
right.axhline(entropy, color="black", linestyle="--", label="entropy H(p)")
right.fill_between(q, entropy, cross_entropy, alpha=0.25, hatch="//", label="divergence KL(p ‖ q)")
right.plot([p], [entropy], "ko")
right.set_xlabel("q, the probability that is predicted")
right.set_ylabel("nats")
right.set_ylim(0, 2.5)
right.set_title("p = 0.3: least at q = p, but not zero")
right.legend(fontsize="small", loc="upper center")
plt.show()
