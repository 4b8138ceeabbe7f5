"""``mgnet train`` and ``models``: strings to a model, data and one call of ``fit``."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from . import fields, networks
from .fields import number, real, whole
from .shell import DONE, CommandError, refused, say

__all__ = ["declare_models", "declare_train"]

TRAIN_EPILOG = """\
MODEL is a name of 'mgnet models'; --option sets what it takes, as
--option channels=32 --option nu=1,1,1,1 for mgnet.

--dataset folder reads DIR/CLASS/*.jpg, or DIR/train, DIR/val and DIR/test with
folders of classes in them; what of these is not there is made of train.

--recipe says how to train: paper as the articles do (days on a CPU), fast for
few epochs, lecture the plain loop of the course. The test set is looked at
once, at the end, with the weights of the best validation accuracy.

--out keeps last.ckpt (where --resume goes on, bit for bit), model.ckpt,
history.csv and history.json. A folder with another run in it is refused,
unless --overwrite. Ctrl-C, SIGTERM and SIGHUP finish the step and save.
--resume with more --epochs goes on after the end, with another --lr after a
divergence; all else has to be as it was.

--init begins from the weights of a run of the same MODEL. Where the classes are
others the last layer is new. --freeze keeps what it names, norms and all.

several processes: torchrun --nproc-per-node N -m mgnet train ...

exit codes: 0 done, 2 usage, 3 diverged, 4 damaged data or checkpoint,
5 resources, 129, 130, 131 and 143 for SIGHUP, SIGINT, SIGQUIT and SIGTERM

examples:
  mgnet train net --dataset synthetic --epochs 2
  mgnet train net --dataset synthetic --init runs/a --freeze features --lr 0.01
"""


def _count_or_share(text: str) -> float:
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)


_share = number(_count_or_share, "a whole number, or a share from 0 to below 1")

# Those of fit itself, and the recipe.
OPTIONS = ("recipe", "resume", "overwrite", "save_every", "tensorboard", "init", "freeze", "class_weights")


def declare_train(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet train`` to the parser of this command alone."""
    parser.add_argument("model", metavar="MODEL", help="name of a model")
    add = parser.add_argument
    add("--option", metavar="NAME=VALUE", action="append", default=[], help="an option of the model")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    data = parser.add_argument_group("data and device")
    networks.declare_data(data)
    text = "training images to set apart: how many, as 5000, or which share, as 0.1; 0 for none"
    data.add_argument("--validation", metavar="X", type=_share, help=text)
    fields.declare_recipe(parser)
    _declare_weights(parser.add_argument_group("weights and classes").add_argument)
    _declare_run(parser.add_argument_group("run").add_argument)
    parser.set_defaults(run=_train)
    parser.epilog = TRAIN_EPILOG


def _declare_weights(add: Callable[..., Any]) -> None:
    add("--init", metavar="RUN", help="begin from the weights of a run: its folder, or a checkpoint")
    text = "modules or parameters that stay as they are, with commas or given several times"
    add("--freeze", metavar="NAME", action="append", default=[], type=_names, help=text)
    text = "how much an image of each class counts: balanced, or numbers with commas"
    add("--class-weights", metavar="W", type=_class_weights, help=text)


def _declare_run(add: Callable[..., Any]) -> None:
    add("--seed", metavar="K", type=whole, default=0, help="of weights, order and augmentation (default: 0)")
    add("--seeds", metavar="K", type=whole, default=1, help="train with K seeds; report mean and deviation")
    add("--out", metavar="DIR", help="folder for checkpoints and figures")
    add("--resume", action="store_true", help="go on from DIR/last.ckpt if it is there")
    add("--overwrite", action="store_true", help="remove the run that DIR holds")
    text = "save after every K steps too, not only after an epoch"
    add("--save-every", metavar="K", type=whole, help=text)
    add("--tensorboard", metavar="DIR", help="folder for TensorBoard")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted: names of modules or parameters")
    return names


def _class_weights(text: str) -> str | list[float]:
    if "," not in text:
        with suppress(ValueError):
            return [float(text)]
        return text.strip()
    return [real(part.strip()) for part in text.split(",")]


def declare_models(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet models`` to the parser of this command alone."""
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    parser.set_defaults(run=_models)


def _train(arguments: argparse.Namespace) -> int:
    networks.import_modules(arguments.modules)
    options = _options(arguments.option)
    arguments.freeze = [name for names in arguments.freeze for name in names]
    if arguments.seeds < 1:
        raise CommandError(f"--seeds: got {arguments.seeds}; accepted: at least 1")
    for name in ("resume", "overwrite", "save_every"):
        if getattr(arguments, name) and arguments.out is None:
            raise CommandError(f"--{name.replace('_', '-')}: needs --out, the folder of the run")
    from ..core.processes import Processes, together

    device = networks.find_device(arguments.device)
    with ExitStack() as joined:
        with refused():
            joined.enter_context(together(device))
        _require_seeds(arguments)
        runs = [_run(arguments, options, arguments.seed + k, device) for k in range(arguments.seeds)]
        if Processes().writes:
            networks.say_figures(runs[0] if len(runs) == 1 else _means(runs), arguments.json)
    return DONE


def _require_seeds(arguments: argparse.Namespace) -> None:
    """Refuse what only a later seed would find out."""
    from ..core.checks import count
    from ..train.beginning import require_apart
    from ..train.loop import SEEDS
    from ..train.run_folder import require_free

    with refused():
        count("seed", arguments.seed, 0, SEEDS + 1 - arguments.seeds)
        for k in range(arguments.seeds):
            if out := _out(arguments, arguments.seed + k):
                require_free(out, arguments.resume, arguments.overwrite)
                if arguments.init is not None:
                    require_apart(arguments.init, out)


def _out(arguments: argparse.Namespace, seed: int) -> Path | None:
    from ..train.run_folder import folder

    out = folder(arguments.out)
    return out / f"seed{seed}" if out and arguments.seeds > 1 else out


def _run(arguments: argparse.Namespace, options: dict[str, Any], seed: int, device: Any) -> dict[str, Any]:
    import torch

    import mgnet

    with refused():
        out = _out(arguments, seed)
        sizes = mgnet.models.defaults(arguments.model)
    dataset = arguments.dataset or ("mnist" if sizes["in_channels"] == 1 else "cifar10")
    data = networks.read_data(dataset, arguments, sizes, arguments.validation)
    shape = {"num_classes": data.num_classes, "in_channels": data.shape[0], "image_size": data.shape[1]}
    with refused(), networks.failures():
        torch.manual_seed(seed)
        with networks.of_others(f"MODEL: {arguments.model}"):
            model = mgnet.models.create(arguments.model, **shape, **options)
        given = {name: x for name, x in vars(arguments).items() if name in (*fields.FIELDS, *OPTIONS)}
        history = mgnet.fit(model, data, seed=seed, device=device, out=out, **given)
    begun = {} if arguments.init is None else {"init": arguments.init}
    return networks.figures_of(arguments.model, model, data, history) | begun


def _means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over seeds, and the standard deviation of the test accuracy."""
    means = dict(runs[0])
    for name in ("train_loss", "val_accuracy", "test_accuracy", "seconds", "images_per_second"):
        if means[name] is not None:
            means[name] = statistics.fmean(run[name] for run in runs)
    accuracies = [run["test_accuracy"] for run in runs]
    deviation = statistics.stdev(accuracies)
    return means | {"seeds": len(runs), "test_accuracies": accuracies, "test_accuracy_std": deviation}


def _options(texts: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in map(option, texts):
        if name in ("name", "num_classes", "in_channels", "image_size"):
            raise CommandError(f"--option: got {name}, which the data say; accepted: other names")
        if name in options:
            raise CommandError(f"--option: got {name} twice; accepted: once")
        options[name] = value
    return options


def option(text: str) -> tuple[str, Any]:
    """Return name and value of 'name=value': a word, which may be empty, a number, or several with commas."""
    name, sign, value = text.strip().partition("=")
    if not sign or not name.isidentifier():
        raise CommandError(f"--option: got {text!r}; accepted: NAME=VALUE")
    return name, _value(value.strip()) if value else ""


def _value(text: str) -> Any:
    """Return a word or a number; a list where there are commas or brackets, as in '1,1', '2,' and '[2]'."""
    bare = text[1:-1] if text[0] + text[-1] in ("[]", "()") else text
    words = [_word(part.strip()) for part in bare.removesuffix(",").split(",")] if bare.strip() else []
    return words if bare != text or "," in text else words[0]


def _word(text: str) -> Any:
    known = {"true": True, "false": False, "none": None}
    for kind in (known.__getitem__, int, float):
        with suppress(KeyError, ValueError):
            return kind(text.lower())
    return text


def _models(arguments: argparse.Namespace) -> int:
    import mgnet

    rows: list[dict[str, Any]] = []
    for name in mgnet.models.names():
        parameters, multiply_adds = mgnet.models.summary(name)
        sizes = mgnet.models.defaults(name)
        shape = [sizes["in_channels"], sizes["image_size"], sizes["image_size"]]
        rows.append({"name": name, "parameters": parameters, "multiply_adds": multiply_adds, "input": shape})
    if arguments.json:
        say(json.dumps(rows))
        return DONE
    say(f"{'name':<16}{'parameters':>14}{'multiply-adds':>18}  input")
    for row in rows:
        image = " × ".join(map(str, row["input"]))
        say(f"{row['name']:<16}{row['parameters']:>14,}{row['multiply_adds']:>18,}  {image}")
    return DONE
