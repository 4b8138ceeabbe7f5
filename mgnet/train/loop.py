"""The training loop: fit a model to a data set, and look at the test set once."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import os
import re
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .. import checkpoint
from ..core.checks import count, find_device, flag, instance, number, shown
from ..core.precision import brain_float
from ..core.progress import Progress, telling
from ..core.signals import StoppedError, gently
from ..data import Batches, Data, Split
from . import optimizers, recipes
from .history import History
from .parallel import Processes
from .preflight import (
    PARTS,
    Findings,
    evaluating,
    place_of,
    require_answer,
    require_data,
    require_fit,
    require_scores,
)
from .recipes import Recipe
from .run_folder import BEST, CSV, JSON, LAST, claimed, folder
from .runs import blamed

__all__ = ["DivergedError", "evaluate", "fit", "predict"]

# What a generator of torch takes as a seed; each process adds its rank.
SEEDS = 2**63 - 1
# As many rows of figures a checkpoint holds.
EPOCHS = 30_000
# Images at a time where they are judged, in training and afterwards.
JUDGED = 1000
# Steps between two looks at the losses on a GPU; each look waits for it.
LOOK = 25


class DivergedError(ArithmeticError):
    """The loss is not finite; the checkpoint that was saved last is still there."""


def fit(
    model: nn.Module,
    data: Data,
    *,
    recipe: Recipe | str = "fast",
    epochs: int | None = None,
    seed: int = 0,
    device: Any = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    save_every: int | None = None,
    progress: bool | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    **changes: Any,
) -> History:
    """Train a model, restore its best weights, and look at the test set once.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images (N, C, H, W) to scores (N, classes); it is trained in place. Norms whose parameters are
        frozen stay in evaluation mode, and so does what is in it where the model as a whole is not.
    data : Data
        Training, validation and test set, all with the same normalisation. Without a validation set the last
        weights are kept.
    recipe : Recipe or {"paper", "fast", "lecture"}, default "fast"
        How to train.
    epochs : int, optional
        Passes over the training set, instead of the recipe's.
    seed : int, default 0
        Of the order of the images, their augmentation, and dropout. The state of torch's own generators
        is left as it was.
    device : str or torch.device, optional
        Where to train; where the model is by default. The model stays there.
    out : path, optional
        Folder for checkpoints and figures: ``last.ckpt`` after every epoch, at the end ``model.ckpt``,
        ``history.csv`` and ``history.json``. It is this run's alone while that goes on, and one with another
        run in it is refused.
    resume : bool, default False
        Go on from ``out/last.ckpt`` if it is there; the run must be the same one: model, recipe, seed, data
        and number of processes.
    overwrite : bool, default False
        Remove the run that ``out`` holds, when everything has been looked at and before the first step.
    save_every : int, optional
        Steps after which to save within an epoch too.
    progress : bool, optional
        Whether to report; by default a bar on a terminal, elsewhere a line for each epoch and at least every
        half a minute, with the time that the rest will take.
    tensorboard : path, optional
        Folder for TensorBoard; needs the extra ``tensorboard``.
    **changes
        Other values for fields of the recipe, as ``lr=0.05``; None means none, as in ``flip=None``.

    Returns
    -------
    History
        The figures, one row per epoch.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments, and for model, data, recipe and folder that do not fit each other, before the
        first step.
    DivergedError
        When a loss or a weight is not finite; it names step and learning rate.
    CheckpointError
        When the checkpoint to resume from is damaged.
    KeyboardInterrupt
        After Ctrl-C, when the step is finished and saved, or the run where it was the last step; SIGTERM,
        SIGHUP and SIGQUIT end the process in the same way.

    Warns
    -----
    UserWarning
        When the last images of an epoch are left out, since batch normalisation needs more of them.
    """
    instance("model", model, nn.Module, "a torch.nn.Module, as mgnet.models.create(name) makes one")
    instance("data", data, Data, "a Data of tensors, as mgnet.data.cifar10() and Data(train, ...) are")
    require_data(data)
    if isinstance(recipe, str):
        recipe = recipes.recipe(recipe, data.shape[0], *_has(model, nn.BatchNorm2d, nn.Conv2d))
    instance("recipe", recipe, Recipe, "a Recipe, or the name of one")
    recipe = recipe.changed(**changes, **({} if epochs is None else {"epochs": epochs}))
    seed, target = count("seed", seed, 0, SEEDS), folder(out)
    _require_sense(target, resume, overwrite, save_every, progress, tensorboard)
    place = place_of(model, data.train.images.device)
    place = place if device is None else find_device(device)
    model, data = model.to(place), data.to(place)
    with ExitStack() as held:
        held.enter_context(torch.inference_mode(False))  # whatever the caller's mode is
        held.enter_context(torch.enable_grad())
        with _own_random_numbers(place, seed):
            findings = require_fit(model, data, recipe)
        run = _Run(model, data, recipe, seed, place, target, findings)
        run.save_every = None if save_every is None else int(save_every)
        log = held.enter_context(_log(tensorboard))
        if target is not None:
            run.processes.first(lambda: held.enter_context(claimed(target, resume, overwrite)), place)
        held.enter_context(_own_random_numbers(place, seed + run.processes.rank))
        run.start(resume)
        with gently() as stop:
            run.go(stop, progress, log)
    return run.history


def _require_sense(
    out: Path | None,
    resume: Any,
    overwrite: Any,
    save_every: Any,
    progress: Any,
    tensorboard: str | os.PathLike[str] | None,
) -> None:
    if progress is not None:
        flag("progress", progress)
    if save_every is not None:
        count("save_every", save_every)
    if flag("resume", resume) and flag("overwrite", overwrite):
        raise ValueError("overwrite: got True; accepted with resume: False")
    if (resume or flag("overwrite", overwrite) or save_every) and out is None:
        raise ValueError(
            "out: got None; accepted: a folder, where resume, overwrite or save_every is asked for"
        )
    if tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "tensorboard: not installed; accepted: pip install 'mgnet-companion[tensorboard]'",
            name="tensorboard",
        )


def evaluate(model: nn.Module, split: Split, *, batch_size: int = 1000, bfloat16: bool = False) -> float:
    """Return the share of images that a model classifies correctly, :eq:`accuracy`.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images to scores; used in evaluation mode, and left in the mode it was in.
    split : Split
        Images and labels, ``data.test`` for example.
    batch_size : int, default 1000
        Images at a time.
    bfloat16 : bool, default False
        Compute products in bfloat16, where the device has instructions for it. Training judges in float32,
        whatever its recipe says, and so does this by default: the figure is that of the history.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        For a model that gives no scores for the images, or for other arguments, before any work.
    DivergedError
        When the loss on the images is not finite.
    """
    flag("bfloat16", bfloat16)
    split = _ready(model, split)
    loss, accuracy = _judge(model, split, Processes(), batch_size, bfloat16)
    if not math.isfinite(loss):
        raise DivergedError(f"the loss on the split is {loss}: the model's scores are not finite")
    return accuracy


def predict(model: nn.Module, split: Split, *, batch_size: int = 1000) -> Tensor:
    """Return the scores of all images, in order; of several processes each computes them all.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images to scores; used in evaluation mode.
    split : Split
        The images.
    batch_size : int, default 1000
        Images at a time.

    Returns
    -------
    torch.Tensor, shape (images, classes)
        Scores, float32, on the model's device.
    """
    split = _ready(model, split)
    batches = _in_order(model, split, batch_size, Processes.alone())
    with evaluating(model):
        return torch.cat([model(x).float() for x, _ in batches])


def _ready(model: Any, split: Any) -> Split:
    """Return the split where the model is, after a look at both."""
    instance("model", model, nn.Module, "a torch.nn.Module")
    instance("split", split, Split, "a Split, data.test for example")
    if not len(split):
        raise ValueError("split: got no images; accepted: at least one")
    there = split.to(place_of(model, split.images.device))
    require_answer(model, there)
    return there


class _Run:
    """A training run and its state; what it does is :meth:`go`."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        out: Path | None,
        findings: Findings,
    ) -> None:
        self.model, self.data, self.recipe, self.seed = model, data, recipe, seed
        self.device, self.out, self.still = device, out, findings.still
        self.processes = Processes()
        if recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = self._batches(findings.least)
        self.optimizer = optimizers.create(self.model, recipe)
        self.schedule = optimizers.schedule(self.optimizer, recipe, len(self.batches))
        self.save_every: int | None = None
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        # What is not finite from the start is meant so: a mask of minus infinities, for example.
        self.infinite = _not_finite(self.model)
        # The digests need a pass over all images, and only a checkpoint holds them.
        self.digests = {part: getattr(data, part).digest() for part in PARTS} if out else {}
        self.clear()
        if out and recipe.epochs > EPOCHS:
            raise ValueError(f"epochs: got {recipe.epochs}; accepted with out: at most {EPOCHS}")
        checkpoint.require_plain(self.configuration())

    def _batches(self, least: int) -> Batches:
        recipe, processes, images = self.recipe, self.processes, len(self.data.train)
        if images < least * processes.world:
            raise ValueError(
                f"data: got {images} images in data.train; accepted: at least {least * processes.world}, for"
                " batch normalisation"
            )
        batches = Batches(
            self.data.train,
            recipe.batch_size,
            augmentation=recipe.augmentation(),
            replacement=recipe.replacement,
            drop_last=recipe.drop_last,
            smallest=max(1, least * processes.world),
            seed=self.seed,
            rank=processes.rank,
            world=processes.world,
            channels_last=recipe.channels_last,
        )
        left = images % recipe.batch_size
        if 0 < left < batches.smallest and not recipe.drop_last and processes.writes:
            warnings.warn(
                f"of every epoch the last {left} of {images} images are left out: batch"
                f" normalisation needs at least {batches.smallest} in a batch",
                stacklevel=4,
            )
        return batches

    def clear(self) -> None:
        """Begin the sums of an epoch."""
        self.loss_sum, self.correct, self.seen, self.seconds = 0.0, 0, 0, 0.0
        # Steps whose losses nobody has looked at: number, learning rate, images, loss and correct ones.
        self.unseen: list[tuple[int, float, int, Tensor]] = []

    def start(self, resume: bool) -> None:
        """Take up the state of a checkpoint, where that is wanted and there is one."""
        if resume and self.out and (self.out / LAST).exists():
            self.load(self.out / LAST)
        self.trained: nn.Module = torch.compile(self.model) if self.recipe.compile else self.model  # type: ignore[assignment]
        self.processes.same((*self.model.parameters(), *self.model.buffers()))

    # The loop.

    def go(self, stop: list[int], show: bool | None, log: Any) -> None:
        """Train to the end of the recipe, until patience runs out, or until a signal has come."""
        steps, epoch, position = len(self.batches), self.batches.epoch, self.batches.position
        show = show if self.processes.writes else False
        report = Progress(steps, self.recipe.epochs, show, epoch * steps + position)
        with telling(report.state, report.lines), closing(report):
            while len(self.history) < self.recipe.epochs and not self.history.stopped_early:
                self.epoch(stop, report)
                self.close_epoch()
                self.save()
                report.epoch(self.history.rows[-1])
                _write_log(log, self.history.rows[-1])
            self.finish()

    def epoch(self, stop: list[int], report: Progress) -> None:
        """Train on the batches that are left of an epoch."""
        self.trained.train()
        for module in self.still:
            module.training = False
        start = time.perf_counter()
        for x, y in self.batches:
            self.step(x, y)
            report.step(self.batches.epoch, self.batches.position)
            stopped = self.stopped(stop)
            if stopped or (self.save_every and self.batches.position % self.save_every == 0):
                self.look()
                self.require_finite()
                self.seconds += time.perf_counter() - start
                start = time.perf_counter()
                self.save()
            if stopped:
                report.close()
                raise StoppedError(stop[0] if stop else signal.SIGTERM)
        self.look()
        self.seconds += time.perf_counter() - start

    def stopped(self, stop: list[int]) -> bool:
        """Say whether a signal came to any of the processes; on GPUs they ask each other when they look."""
        if self.processes.world > 1 and self.device.type != "cpu" and self.batches.position % LOOK:
            return False
        return bool(self.processes.total(len(stop), device=self.device)[0])

    def step(self, x: Tensor, y: Tensor) -> None:
        """Make one step of the optimiser."""
        recipe = self.recipe
        with brain_float(self.device, recipe.bfloat16):
            scores = self.trained(x)
        require_scores(scores, len(y))
        if not scores.requires_grad:
            raise ValueError("model: its scores do not depend on its parameters; accepted: scores that do")
        # eq: label-smoothing
        losses = F.cross_entropy(scores.float(), y, reduction="sum", label_smoothing=recipe.label_smoothing)
        loss = losses / self.global_size()  # eq: batch-loss
        step = len(self.history) * len(self.batches) + self.batches.position
        lr = self.optimizer.param_groups[0]["lr"]
        correct = (scores.detach().argmax(1) == y).sum()
        self.unseen.append((step, lr, len(y), torch.stack((losses.detach().double(), correct.double()))))
        if self.device.type == "cpu" or len(self.unseen) >= LOOK:
            self.look()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.add_gradients(self.model.parameters())
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)  # eq: clipping
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise _diverged(f"step {step} is beyond the numbers of its weights", lr) from error
        self.schedule.step()

    def global_size(self) -> int:
        """Return the number of images of this step, of all processes."""
        before = (self.batches.position - 1) * self.recipe.batch_size
        return min(self.recipe.batch_size, len(self.data.train) - before)

    def look(self) -> None:
        """Add up the losses since the last look; refuse one that is not finite."""
        # One look at all of them.
        figures = torch.stack([figure for *_, figure in self.unseen]).tolist() if self.unseen else []
        for (step, lr, images, _), (loss, correct) in zip(self.unseen, figures, strict=True):
            if not math.isfinite(loss):
                raise _diverged(f"the loss of step {step} is {loss}", lr)
            self.loss_sum += loss
            self.correct += int(correct)
            self.seen += images
        self.unseen.clear()

    def require_finite(self) -> None:
        """Refuse weights and statistics that are not finite: they are no state to go on from."""
        wrong = [name for name in _not_finite(self.model) if name not in self.infinite]
        if wrong:
            raise _diverged(f"{wrong[0]} is not finite", self.optimizer.param_groups[0]["lr"])

    def close_epoch(self) -> None:
        """Look at the validation set, note the figures, and keep the weights if they are the best."""
        self.processes.same(self.model.buffers())
        self.require_finite()
        loss, accuracy = None, None
        if len(self.data.validation):
            loss, accuracy = self.judged("validation")
        loss_sum, correct, seen = self.processes.total(
            self.loss_sum, self.correct, self.seen, device=self.device
        )
        before = self.history.best
        self.history.append(
            epoch=len(self.history) + 1,
            lr=self.schedule.get_last_lr()[0],
            train_loss=loss_sum / seen,
            train_accuracy=correct / seen,
            val_loss=loss,
            val_accuracy=accuracy,
            seconds=self.seconds,
            images_per_second=seen / self.seconds,
        )
        self.clear()
        if self.history.best is not before:
            self.best = {name: x.detach().clone() for name, x in self.model.state_dict().items()}
        best = self.history.best
        assert best is not None  # a row has just been added
        stale = len(self.history) - best["epoch"]
        # eq: early-stopping
        self.history.stopped_early = self.recipe.patience is not None and stale >= self.recipe.patience

    def judged(self, part: str) -> tuple[float, float]:
        """Return mean loss and accuracy of a part; refuse a loss that is not finite."""
        loss, accuracy = _judge(self.model, getattr(self.data, part), self.processes)
        if not math.isfinite(loss):
            raise _diverged(f"the {part} loss is {loss}", self.optimizer.param_groups[0]["lr"])
        return loss, accuracy

    def finish(self) -> None:
        """Restore the best weights, and look at the test set with them."""
        if self.best is not None:
            self.model.load_state_dict(self.best)
        if self.history.test_accuracy is None:
            self.history.test_accuracy = self.judged("test")[1]
        self.save()
        if self.out and self.processes.writes:
            checkpoint.save(self.out / BEST, {**self.configuration(), "model": self.model.state_dict()})
            self.history.to_csv(self.out / CSV)
            self.history.to_json(self.out / JSON)

    # The state.

    def configuration(self) -> dict[str, Any]:
        """Say what is being done, in plain types."""
        return {
            "format": FORMAT,
            "spec": copy.deepcopy(getattr(self.model, "spec", None)),
            "trained": [name for name, p in self.model.named_parameters() if p.requires_grad],
            "still": [name for name, module in self.model.named_modules() if module in self.still],
            "layers": _layers(self.model),
            "dataset": str(self.data.name),
            "classes": [str(name) for name in self.data.classes],
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            "digests": self.digests,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "processes": self.processes.world,
            "history": self.history.state_dict(),
        }

    def save(self) -> None:
        """Write the checkpoint, if there is a folder for it."""
        if self.out is None:
            return
        ranks = self.processes.gathered(self.own_state())
        if not self.processes.writes:
            return
        checkpoint.save(
            self.out / LAST,
            {
                **self.configuration(),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict()["state"],
                "batches": self.batches.state_dict(),
                "best": self.best,
                "ranks": ranks,
            },
        )

    def own_state(self) -> dict[str, Any]:
        """Return what each process has of its own: to go on with sums of all would round otherwise."""
        generator = _generator(self.device)
        return {
            "sums": [self.loss_sum, self.correct, self.seen, self.seconds],
            "cpu": torch.get_rng_state(),
            "device": generator and generator.get_rng_state(self.device),
        }

    def load(self, path: Path) -> None:
        """Take up the state of a run, if it is this one."""
        state = checkpoint.load(path)
        with blamed(path):
            if type(state["format"]) is not int or state["format"] != FORMAT:
                raise ValueError(f"format: got {shown(state['format'])}; accepted: {FORMAT}")
            for name, kind in KINDS.items():
                instance(name, state[name], kind, "what a run saves")
            different = self.difference(state)
        if different:
            raise ValueError(different)
        with blamed(path):
            self.load_state_dict(state)

    def difference(self, state: dict[str, Any]) -> str:
        """Say what makes the state of a run another one's, if anything does."""
        mine, theirs = _flat(self.configuration()), _flat(state)
        json.dumps(theirs)  # which refuses tensors: a comparison with one is no answer
        mine |= _shapes(self.model.state_dict())
        theirs |= _shapes(state["model"])
        for name in {**mine, **theirs}:
            if mine.get(name) != theirs.get(name):
                return (
                    f"{name}: got {shown(mine.get(name))}, but {self.out} was begun with"
                    f" {shown(theirs.get(name))}; accepted: the same, or another folder"
                )
        return ""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`save` saved."""
        self.batches.load_state_dict(state["batches"])
        self.history.load_state_dict(state["history"])
        own = state["ranks"][self.processes.rank]
        loss_sum, correct, seen, seconds = own["sums"]
        self.loss_sum, self.seconds = number("loss", loss_sum), number("seconds", seconds)
        self.correct, self.seen = count("correct", correct, 0), count("seen", seen, 0)
        self.best = state["best"]
        if self.best is not None and _shapes(self.best) != _shapes(state["model"]):
            raise ValueError("the best weights have other shapes than the last ones")
        self.model.load_state_dict(state["model"])
        optimizers.load(self.optimizer, state["optimizer"])
        optimizers.go_to(self.schedule, self.batches.epoch * len(self.batches) + self.batches.position)
        torch.set_rng_state(own["cpu"])
        generator = _generator(self.device)
        if generator and own["device"] is not None:
            generator.set_rng_state(own["device"], self.device)


# What a checkpoint holds is said by the number; see _Run.save.
FORMAT = 2
KINDS: dict[str, type | tuple[type, ...]] = {
    "spec": (dict, type(None)),
    "dataset": str,
    "seed": int,
    "processes": int,
    **dict.fromkeys(("trained", "still", "layers", "classes", "mean", "std"), list),
    **dict.fromkeys(("digests", "recipe", "model", "optimizer", "batches", "history"), dict),
}


def _diverged(what: str, lr: float) -> DivergedError:
    return DivergedError(
        f"{what} at learning rate {lr:.3g}; take a smaller one, or clip the gradient; the last checkpoint is"
        " as it was"
    )


def _not_finite(model: nn.Module) -> list[str]:
    """Return the names of weights and buffers that have numbers which are not finite."""
    named = {n: x for n, x in model.state_dict().items() if isinstance(x, Tensor) and x.is_floating_point()}
    # One look at all of them.
    finite = torch.stack([x.isfinite().all() for x in named.values()]).tolist() if named else []
    return [name for name, whole in zip(named, finite, strict=True) if not whole]


SAME = ("spec", "trained", "still", "dataset", "classes", "seed", "processes")


def _flat(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a run the same one, by the names that a caller knows."""
    whole = {name: configuration[name] for name in SAME}
    layers = {f"model, line {i}": line for i, line in enumerate(configuration["layers"], 1)}
    parts = {f"data.{part}": configuration["digests"].get(part) for part in PARTS}
    fields = {**configuration["recipe"]}
    return {**whole, **parts, **fields, **layers, "milestones": tuple(fields["milestones"])}


def _layers(model: nn.Module) -> list[str]:
    """Return what a model prints of itself, without addresses, which every process has others of."""
    return [re.sub(r"0x[0-9a-f]+", "", line).strip() for line in repr(model).splitlines()]


def _shapes(weights: dict[str, Any]) -> dict[str, str]:
    """Return what kind of tensor each of a model's is."""
    return {f"model.{name}": f"{x.dtype} of shape {tuple(x.shape)}" for name, x in weights.items()}


def _has(model: nn.Module, *kinds: type[nn.Module]) -> list[bool]:
    return [any(isinstance(module, kind) for module in model.modules()) for kind in kinds]


def _judge(
    model: nn.Module, split: Split, processes: Processes, batch_size: int = JUDGED, bfloat16: bool = False
) -> tuple[float, float]:
    """Return mean loss and accuracy, in evaluation mode."""
    device = split.images.device
    loss, correct = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
    with evaluating(model), brain_float(device, bfloat16):
        for x, y in _in_order(model, split, batch_size, processes):
            scores = model(x).float()
            loss += F.cross_entropy(scores, y, reduction="sum")  # eq: softmax-cross-entropy
            correct += (scores.argmax(1) == y).sum()  # eq: accuracy
    sums = processes.total(*torch.stack((loss, correct)).tolist(), device=device)
    return sums[0] / len(split), sums[1] / len(split)


def _in_order(model: nn.Module, split: Split, batch_size: int, processes: Processes) -> Batches:
    """Return the batches of a split as they are, in the memory order of the model's kernels."""
    order = {"memory_format": torch.channels_last}
    return Batches(
        split,
        batch_size,
        shuffle=False,
        rank=processes.rank,
        world=processes.world,
        channels_last=any(p.ndim == 4 and p.is_contiguous(**order) for p in model.parameters()),
    )


@contextmanager
def _own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the generators of the CPU and of the device; torch.manual_seed would seed those of all devices."""
    generator = _generator(device)
    with torch.random.fork_rng([device] if generator else [], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        if generator:
            with generator.device(device):
                generator.manual_seed(seed)
        yield


def _generator(device: torch.device) -> Any:
    """Return the part of torch that has the random numbers of a device, if it is not the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device)


@contextmanager
def _log(folder: str | os.PathLike[str] | None) -> Iterator[Any]:
    if folder is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        yield writer


def _write_log(log: Any, row: dict[str, Any]) -> None:
    if log is not None:
        for name, value in row.items():
            if name != "epoch" and value is not None:
                log.add_scalar(name, value, row["epoch"])
