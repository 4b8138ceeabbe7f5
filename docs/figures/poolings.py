"""One image, halved by four kinds of pooling."""

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F  # noqa: N812

import mgnet
from mgnet.layers import Averaging

data = mgnet.data.synthetic(train=1, validation=0, test=40)
i = [data.classes[label] for label in data.test.labels].index("grid")
image = data.test.images[i : i + 1].float().mean(1, keepdim=True) / 255
pictures = {
    "32 × 32": image,
    "every second pixel": image[..., ::2, ::2],
    "maximum of 2 × 2": F.max_pool2d(image, 2),
    "mean of 2 × 2": F.avg_pool2d(image, 2),
    "averaging, 3 × 3": Averaging(boundary="natural", dim=2)(image),
}
figure, axes = plt.subplots(1, 5, figsize=(9, 2.3), layout="constrained")
for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
    ax.imshow(picture[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    ax.set_title(name, fontsize="medium")
    ax.set_xlabel(f"deviation {float(torch.std(picture)):.3f}", fontsize="small")
    ax.set_xticks([])
    ax.set_yticks([])
plt.show()
