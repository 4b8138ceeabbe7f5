"""Parameters and multiply-adds of all models for CIFAR-10."""

import matplotlib.pyplot as plt

import mgnet

FAMILIES = {
    "AlexNet": ("o", ["alexnet-cifar"]),
    "VGG": ("s", ["vgg11", "vgg13", "vgg16", "vgg19"]),
    "GoogLeNet": ("P", ["googlenet"]),
    "ResNet, thin": ("^", ["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]),
    "ResNet, wide": ("v", ["resnet18", "resnet34", "resnet50"]),
    "MgNet": ("D", ["mgnet-32", "mgnet-64", "mgnet-128", "mgnet-256"]),
    "lecture": ("*", ["net"]),
}
ABOVE = {"resnet18", "resnet50", "googlenet", "mgnet-32", "mgnet-64", "mgnet-128", "mgnet-256", "vgg13"}

figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
for family, (marker, names) in FAMILIES.items():
    sizes = [mgnet.models.summary(name) for name in names]
    parameters, products = zip(*sizes, strict=True)
    ax.loglog(parameters, products, marker, linestyle=":", linewidth=1, markersize=8, label=family)
    for name, place in zip(names, sizes, strict=True):
        offset, side = ((-7, 5), "right") if name in ABOVE else ((8, -9), "left")
        ax.annotate(name, place, offset, textcoords="offset points", fontsize="small", ha=side)
ax.set_xlim(4e4, 9e7)
ax.set_xlabel("parameters")
ax.set_ylabel("multiply-adds for one image of 3 × 32 × 32")
ax.set_title("Networks with as many parameters differ widely in what they compute")
ax.grid(alpha=0.3)
ax.legend(fontsize="small", loc="lower right")
plt.show()
