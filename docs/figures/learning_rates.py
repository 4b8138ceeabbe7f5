"""The four schedules, as the history of a run records them."""

import matplotlib.pyplot as plt
import torch
from torch import nn

import mgnet

data = mgnet.data.synthetic(train=20, validation=0, test=10)
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for schedule, style in (("constant", ":"), ("milestones", "-."), ("cosine", "--"), ("onecycle", "-")):
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10))
    # One step in each epoch, so that the rate of every step is in the history.
    history = mgnet.fit(
        model, data, recipe="lecture", epochs=60, batch_size=20, lr=0.1, schedule=schedule, progress=False
    )
    drawn = "steps-post" if schedule == "milestones" else "default"
    ax.plot(history["epoch"], history["lr"], style, drawstyle=drawn, label=schedule)
ax.set_xlabel("step of 60")
ax.set_ylabel("learning rate")
ax.set_title("Four schedules with the same largest rate of 0.1")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
