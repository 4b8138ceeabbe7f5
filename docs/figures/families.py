"""Accuracy of the six families against what they compute and how many parameters they have."""

import matplotlib.pyplot as plt
from measured import ZOO

found = ZOO["lines"](ZOO["RESULTS"])
rows = [row for row in ZOO["rows"](found) if row.accuracies]

STYLES = {
    "lenet": ("LeNet", "tab:gray", "*"),
    "alexnet": ("AlexNet", "tab:brown", "o"),
    "vgg": ("VGG", "tab:green", "s"),
    "googlenet": ("GoogLeNet", "tab:purple", "P"),
    "resnet": ("ResNet", "tab:orange", "^"),
    "mgnet": ("MgNet", "tab:blue", "D"),
    "mgnet-poisson": ("MgNet, A of the hat functions", "tab:cyan", "d"),
}

figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharey=True)
panels = ("multiply_adds", "multiply-adds for one image"), ("parameters", "learned parameters")
for ax, (cost, title) in zip(axes, panels, strict=True):
    for family, (name, colour, marker) in STYLES.items():
        mine = [row for row in rows if row.family == family]
        if not mine:  # nor a place in the legend
            continue
        ax.errorbar(
            [getattr(row, cost) for row in mine],
            [row.mean for row in mine],
            [row.deviation or 0 for row in mine],
            color=colour,
            marker=marker,
            markersize=7,
            linewidth=1,
            capsize=3,
            label=name,
        )
    ax.set_xscale("log")
    ax.set_xlabel(title)
    ax.grid(alpha=0.3)
axes[1].set_xlim(1e5, 7e5)
axes[1].set_xticks([1.3e5, 5e5], ["130 thousand", "500 thousand"])
axes[1].minorticks_off()
axes[0].set_ylabel("test accuracy, %")
handles, names = axes[0].get_legend_handles_labels()
figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize="small")
where = sorted({f"{run['processor']}, torch {run['torch']}" for run in found if run["kind"] == "run"})
figure.suptitle("; ".join(["CIFAR-10 (JPEG copy), 5 epochs", *where]), fontsize="small", color="0.3")
plt.show()
