"""The catalogue of published sets: what their files are called, how large they are and how they are known.

The hashes of packages and files are those that their authors publish, or that torchvision checks; SHA-256
where it follows from a published MD5 by unpacking.
"""

from __future__ import annotations

from .archives import Archive

__all__ = ["BATCHES", "CIFAR10", "CIFAR10_PYTHON", "CIFAR100", "CIFAR100_PYTHON", "COARSE", "FASHION"]
__all__ += ["FINE", "GARMENTS", "LOOKALIKES", "MNIST", "PLANES", "THINGS"]

PLANES = (3, 32, 32)
PIXELS = 3 * 32 * 32  # the red, green and blue plane of a record, after its labels

THINGS = "airplane automobile bird cat deer dog frog horse ship truck".split()
GARMENTS = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag".split() + ["Ankle boot"]
FINE = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
COARSE = """aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
vehicles_1 vehicles_2""".split()

TORONTO = "https://www.cs.toronto.edu/~kriz"
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]
PACKAGE = "cifar-10-binary.tar.gz"
CIFAR10 = Archive(
    name="CIFAR-10",
    base=TORONTO,
    packages={PACKAGE: "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    package_sizes={PACKAGE: 170_052_171},
    folder="cifar-10-batches-bin",
    sizes=dict.fromkeys([*BATCHES, "test_batch.bin"], 10_000 * (1 + PIXELS)),
    classes=(10 * [5000], 10 * [1000]),
)
# A pickle of the same arrays has another size with every protocol: what stands here is a bound.
MEGABYTE = 2**20
PICKLES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
CIFAR10_PYTHON = Archive(
    name="CIFAR-10",
    base=TORONTO,
    packages={"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"},
    package_sizes={"cifar-10-python.tar.gz": 170_498_071},
    folder="cifar-10-batches-py",
    sizes=dict.fromkeys(PICKLES, 64 * MEGABYTE),
    exact=False,
    records=dict.fromkeys(PICKLES, 10_000),
    known={
        "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
        "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
        "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "md5:40351d587109b95175f43aff81a1287e",
    },
    classes=CIFAR10.classes,
)
CIFAR100 = Archive(
    name="CIFAR-100",
    base=TORONTO,
    packages={"cifar-100-binary.tar.gz": "md5:03b5dce01913d631647c71ecec9e9cb8"},
    package_sizes={"cifar-100-binary.tar.gz": 168_513_733},
    folder="cifar-100-binary",
    sizes={"train.bin": 50_000 * (2 + PIXELS), "test.bin": 10_000 * (2 + PIXELS)},
    classes=(100 * [500], 100 * [100]),
)
CIFAR100_PYTHON = Archive(
    name="CIFAR-100",
    base=TORONTO,
    packages={"cifar-100-python.tar.gz": "md5:eb9058c3a382ffc7106e4002c42a8d85"},
    package_sizes={"cifar-100-python.tar.gz": 169_001_437},
    folder="cifar-100-python",
    sizes={"train": 320 * MEGABYTE, "test": 64 * MEGABYTE, "meta": MEGABYTE},
    exact=False,
    records={"train": 50_000, "test": 10_000},
    marks=("meta",),  # train and test may be anybody's
    known={
        "train": "md5:16019d7e3df5f24257cddd939b257f8d",
        "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "md5:7973b15100ade9c7d40fb424638fde48",
    },
    classes=CIFAR100.classes,
)

# Each file with its bytes and its hash, and the bytes and the MD5 of its package.
DIGITS = {
    "train-images-idx3-ubyte": (
        *(16 + 60_000 * 784, "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        *(9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ),
    "train-labels-idx1-ubyte": (
        *(8 + 60_000, "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        *(28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    ),
    "t10k-images-idx3-ubyte": (
        *(16 + 10_000 * 784, "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        *(1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    ),
    "t10k-labels-idx1-ubyte": (
        *(8 + 10_000, "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        *(4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
}
CLOTHES = {
    "train-images-idx3-ubyte": (
        *(16 + 60_000 * 784, "md5:f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        *(26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ),
    "train-labels-idx1-ubyte": (
        *(8 + 60_000, "md5:9018921c3c673c538a1fc5bad174d6f9"),
        *(29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    "t10k-images-idx3-ubyte": (
        *(16 + 10_000 * 784, "md5:8181f5470baa50b63fa0f6fddb340f0a"),
        *(4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    ),
    "t10k-labels-idx1-ubyte": (
        *(8 + 10_000, "md5:15d484375f8d13e6eb1aabb0c3f46965"),
        *(5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}


def _idx(
    name: str, base: str, folder: str, files: dict[str, tuple[int, str, int, str]], classes: list[list[int]]
) -> Archive:
    return Archive(
        name=name,
        base=base,
        packages={f"{file}.gz": f"md5:{md5}" for file, (*_, md5) in files.items()},
        package_sizes={f"{file}.gz": size for file, (_, _, size, _) in files.items()},
        folder=folder,
        sizes={file: size for file, (size, *_) in files.items()},
        known={file: known for file, (_, known, *_) in files.items()},
        classes=(classes[0], classes[1]),
    )


MNIST = _idx(
    "MNIST",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "MNIST/raw",
    DIGITS,
    [
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ],
)
FASHION = _idx(
    "Fashion-MNIST",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "FashionMNIST/raw",
    CLOTHES,
    [10 * [6000], 10 * [1000]],
)
# Their files have the same names and sizes, and only the hash tells them apart.
LOOKALIKES = (MNIST, FASHION)
