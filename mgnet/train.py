"""The training loop: fit a model to a data set, and look at the test set once."""

from __future__ import annotations

import copy
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from . import checkpoint, recipes
from .checks import count, find_device, instance
from .data import Batches, Data, Split
from .history import History
from .parallel import Processes
from .precision import brain_float
from .progress import Progress, telling
from .recipes import Recipe

__all__ = ["BEST", "LAST", "DivergedError", "evaluate", "fit", "predict"]

# In the folder of a run: where it can go on, and the weights that it ended with.
LAST, BEST = "last.ckpt", "model.ckpt"
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
    save_every: int | None = None,
    progress: bool | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    **changes: Any,
) -> History:
    """Train a model, restore its best weights, and look at the test set once.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images (N, C, H, W) to scores (N, classes); it is trained in place.
    data : Data
        Training, validation and test set. Without a validation set the last weights are kept.
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
        ``history.csv`` and ``history.json``.
    resume : bool, default False
        Go on from ``out/last.ckpt`` if it is there; the run must be the same one.
    save_every : int, optional
        Steps after which to save within an epoch too.
    progress : bool, optional
        Whether to report; by default a bar on a terminal, elsewhere a line for each epoch and at least every
        half a minute, with the time that the rest will take.
    tensorboard : path, optional
        Folder for TensorBoard; needs the extra ``tensorboard``.
    **changes
        Other values for fields of the recipe, as ``lr=0.05``.

    Returns
    -------
    History
        The figures, one row per epoch.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments, before any work.
    DivergedError
        When the loss is not finite; it names step and learning rate.
    CheckpointError
        When the checkpoint to resume from is damaged.
    KeyboardInterrupt
        After Ctrl-C, when the step is finished and saved, or the run where it was the last step; SIGTERM
        ends the process in the same way.
    """
    instance("model", model, nn.Module, "a torch.nn.Module, as mgnet.models.create(name) makes one")
    instance("data", data, Data, "a Data of tensors, as mgnet.data.cifar10() and Data(train, ...) are")
    if isinstance(recipe, str):
        recipe = recipes.recipe(recipe, data.shape[0], *_has(model, nn.BatchNorm2d, nn.Conv2d))
    instance("recipe", recipe, Recipe, "a Recipe, or the name of one")
    recipe = recipe.changed(epochs=epochs, **changes)
    if save_every is not None:
        count("save_every", save_every)
    if (resume or save_every) and out is None:
        raise ValueError("out: got None; accepted: a folder, where resume or save_every is asked for")
    place = next(model.parameters()).device if device is None else find_device(device)
    run = _Run(model, data, recipe, count("seed", seed, 0), place, None if out is None else Path(out))
    run.save_every = save_every
    with _own_random_numbers(place, seed + run.processes.rank), _log(tensorboard) as log:
        run.start(resume)
        with _gently() as stop:
            run.go(stop, progress, log)
    return run.history


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
        Compute products in bfloat16, where the device has instructions for it.

    Returns
    -------
    float
        Between 0 and 1.
    """
    _require_model_and_split(model, split)
    return _judge(model, split, batch_size, bfloat16, Processes())[1]


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
    _require_model_and_split(model, split)
    batches = Batches(split.to(next(model.parameters()).device), batch_size, shuffle=False)
    with _evaluating(model):
        return torch.cat([model(x).float() for x, _ in batches])


def _require_model_and_split(model: Any, split: Any) -> None:
    instance("model", model, nn.Module, "a torch.nn.Module")
    instance("split", split, Split, "a Split, data.test for example")


class _Run:
    """A training run and its state; what it does is :meth:`go`."""

    def __init__(
        self, model: nn.Module, data: Data, recipe: Recipe, seed: int, device: torch.device, out: Path | None
    ) -> None:
        for part in ("train", "test"):
            if not len(getattr(data, part)):
                raise ValueError(f"data: got no images in data.{part}; accepted: at least one")
        self.recipe, self.seed, self.device, self.out = recipe, seed, device, out
        self.processes = Processes()
        self.data = data.to(device)
        self.model = model.to(device)
        if recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = self._batches()
        self.optimizer = _optimizer(self.model, recipe)
        self.schedule = _schedule(self.optimizer, recipe, len(self.batches))
        self.save_every: int | None = None
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.clear()

    def _batches(self) -> Batches:
        recipe, processes = self.recipe, self.processes
        return Batches(
            self.data.train,
            recipe.batch_size,
            augmentation=recipe.augmentation(),
            replacement=recipe.replacement,
            drop_last=recipe.drop_last,
            seed=self.seed,
            rank=processes.rank,
            world=processes.world,
            channels_last=recipe.channels_last,
        )

    def clear(self) -> None:
        """Begin the sums of an epoch."""
        self.loss_sum, self.correct, self.seen, self.seconds = 0.0, 0, 0, 0.0
        # Steps whose losses nobody has looked at: number, learning rate, images, loss and correct ones.
        self.unseen: list[tuple[int, float, int, Tensor]] = []

    def start(self, resume: bool) -> None:
        """Take up the state of a checkpoint, where that is wanted and there is one."""
        if resume and self.out and (self.out / LAST).exists():
            self.load_state_dict(checkpoint.load(self.out / LAST))
        self.trained: nn.Module = torch.compile(self.model) if self.recipe.compile else self.model  # type: ignore[assignment]
        self.trained = self.processes.wrapped(self.trained)

    # The loop.

    def go(self, stop: list[int], show: bool | None, log: Any) -> None:
        """Train to the end of the recipe, until patience runs out, or until a signal has come."""
        steps, epoch, position = len(self.batches), self.batches.epoch, self.batches.position
        show = show if self.processes.writes else False
        report = Progress(steps, self.recipe.epochs, show, epoch * steps + position)
        with telling(report.state, report.lines), closing(report):
            while len(self.history) < self.recipe.epochs and not self.history.stopped_early:
                self.epoch(stop, report)
                report.epoch(self.close_epoch())
                _write_log(log, self.history.rows[-1])
                self.save()
            self.finish()

    def epoch(self, stop: list[int], report: Progress) -> None:
        """Train on the batches that are left of an epoch."""
        self.trained.train()
        start = time.perf_counter()
        for x, y in self.batches:
            self.step(x, y)
            report.step(self.batches.epoch, self.batches.position)
            stopped = self.stopped(stop)
            if stopped or (self.save_every and self.batches.position % self.save_every == 0):
                self.look()
                self.seconds += time.perf_counter() - start
                start = time.perf_counter()
                self.save()
            if stopped:
                report.close()
                raise _StoppedError(stop[0] if stop else signal.SIGTERM)
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
        # eq: label-smoothing
        losses = F.cross_entropy(scores.float(), y, reduction="sum", label_smoothing=recipe.label_smoothing)
        # The mean over the images of all processes; they average their gradients.
        loss = losses * (self.processes.world / self.global_size())  # eq: batch-loss
        step = len(self.history) * len(self.batches) + self.batches.position
        lr = self.optimizer.param_groups[0]["lr"]
        correct = (scores.detach().argmax(1) == y).sum()
        self.unseen.append((step, lr, len(y), torch.stack((losses.detach().double(), correct.double()))))
        if self.device.type == "cpu" or len(self.unseen) >= LOOK:
            self.look()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)  # eq: clipping
        self.optimizer.step()
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
                raise DivergedError(
                    f"the loss of step {step} is {loss} at learning rate {lr:.3g}; take a smaller"
                    " one, or clip the gradient; the last checkpoint is as it was"
                )
            self.loss_sum += loss
            self.correct += int(correct)
            self.seen += images
        self.unseen.clear()

    def close_epoch(self) -> dict[str, Any]:
        """Look at the validation set, note the figures, and keep the weights if they are the best."""
        self.processes.same(self.model.buffers())
        loss, accuracy = None, None
        if len(self.data.validation):
            loss, accuracy = _judge(
                self.model, self.data.validation, 1000, self.recipe.bfloat16, self.processes
            )
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
        return self.history.rows[-1]

    def finish(self) -> None:
        """Restore the best weights, and look at the test set with them."""
        if self.best is not None:
            self.model.load_state_dict(self.best)
        if self.history.test_accuracy is None:
            test = self.data.test
            self.history.test_accuracy = _judge(self.model, test, 1000, self.recipe.bfloat16, self.processes)[
                1
            ]
        if self.out and self.processes.writes:
            self.save()
            checkpoint.save(self.out / BEST, {**self.configuration(), "model": self.model.state_dict()})
            self.history.to_csv(self.out / "history.csv")
            self.history.to_json(self.out / "history.json")

    # The state.

    def configuration(self) -> dict[str, Any]:
        """Say what is being done, in plain types."""
        return {
            "format": 1,
            "spec": copy.deepcopy(getattr(self.model, "spec", None)),
            "dataset": self.data.name,
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "processes": self.processes.world,
            "history": self.history.state_dict(),
        }

    def save(self) -> None:
        """Write the checkpoint, if there is a folder for it."""
        if self.out is None or not self.processes.writes:
            return
        generator = _generator(self.device)
        checkpoint.save(
            self.out / LAST,
            {
                **self.configuration(),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "batches": self.batches.state_dict(),
                "random": {
                    "cpu": torch.get_rng_state(),
                    "cuda": generator and generator.get_rng_state(self.device),
                },
                "best": self.best,
                "sums": [self.loss_sum, self.correct, self.seen, self.seconds],
            },
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a run, if it is this one."""
        mine, theirs = (_flat(configuration) for configuration in (self.configuration(), state))
        for name, value in mine.items():
            if theirs.get(name) != value:
                raise ValueError(
                    f"{name}: got {value!r}, but {self.out} was begun with {theirs.get(name)!r};"
                    " accepted: the same, or another folder"
                )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.batches.load_state_dict(state["batches"])
        self.history.load_state_dict(state["history"])
        self.best = state["best"]
        self.loss_sum, self.correct, self.seen, self.seconds = state["sums"]
        torch.set_rng_state(state["random"]["cpu"])
        generator = _generator(self.device)
        if generator and state["random"]["cuda"] is not None:
            generator.set_rng_state(state["random"]["cuda"], self.device)


def _flat(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a run the same one, the fields of its recipe one by one."""
    whole = {name: configuration.get(name) for name in ("format", "spec", "dataset", "seed", "processes")}
    fields = {**configuration["recipe"]}
    return {**whole, **fields, "milestones": tuple(fields["milestones"])}


def _has(model: nn.Module, *kinds: type[nn.Module]) -> list[bool]:
    return [any(isinstance(module, kind) for module in model.modules()) for kind in kinds]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser; norms and biases are not pulled towards zero."""
    numbers = [p for p in model.parameters() if p.requires_grad]
    groups = [
        # eq: weight-decay
        {"params": [p for p in numbers if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in numbers if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))  # eq: adamw
    nesterov = recipe.nesterov and recipe.momentum > 0  # eq: nesterov
    # eq: momentum
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Any:
    """Return the schedule of the learning rate, a new value for every step."""
    total = recipe.epochs * steps
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(recipe, step, total))


def _share(recipe: Recipe, step: int, total: int) -> float:
    """Return which share of the largest learning rate a step has."""
    if recipe.schedule == "milestones":
        return 0.1 ** sum(step >= share * total for share in recipe.milestones)  # eq: milestones
    if recipe.schedule == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * step / total)  # eq: cosine
    if recipe.schedule == "onecycle":
        middle = (step + 0.5) / total  # no step has rate zero
        rise = middle / recipe.warmup if recipe.warmup else 1.0
        return max(0.0, min(rise, (1 - middle) / (1 - recipe.warmup)))  # eq: one-cycle
    return 1.0


def _judge(
    model: nn.Module, split: Split, batch_size: int, bfloat16: bool, processes: Processes
) -> tuple[float, float]:
    """Return mean loss and accuracy, in evaluation mode."""
    count("batch_size", batch_size)
    if not len(split):
        raise ValueError("split: got no images; accepted: at least one")
    device = next(model.parameters()).device
    loss, correct = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
    channels_last = any(
        p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last) for p in model.parameters()
    )
    batches = Batches(
        split.to(device),
        batch_size,
        shuffle=False,
        rank=processes.rank,
        world=processes.world,
        channels_last=channels_last,
    )
    with _evaluating(model), brain_float(device, bfloat16):
        for x, y in batches:
            scores = model(x).float()
            loss += F.cross_entropy(scores, y, reduction="sum")  # eq: softmax-cross-entropy
            correct += (scores.argmax(1) == y).sum()  # eq: accuracy
    sums = processes.total(*torch.stack((loss, correct)).tolist(), device=device)
    return sums[0] / len(split), sums[1] / len(split)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


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


class _StoppedError(Exception):
    """A signal came, and what it interrupted is saved."""


@contextmanager
def _gently() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM; when the step is finished, do what would have been done at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:  # twice: now
            signal.default_int_handler(number, frame)
        came.append(number)

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # as in the background of a shell
                before[number] = signal.signal(number, note)
    except ValueError:  # only the main thread may
        yield came
        return
    try:
        yield came
    except _StoppedError as stopped:
        _restore(before)
        signal.raise_signal(stopped.args[0])
        raise KeyboardInterrupt from None  # the handler that was there has not ended it
    else:
        _restore(before)
        if came:  # after the last step: the run is whole and saved, and what follows it is to end
            signal.raise_signal(came[0])
    finally:
        _restore(before)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def _log(folder: str | os.PathLike[str] | None) -> Iterator[Any]:
    if folder is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "tensorboard: not installed; accepted: pip install 'mgnet-companion[tensorboard]'"
        ) from error
    with SummaryWriter(str(folder)) as writer:
        yield writer


def _write_log(log: Any, row: dict[str, Any]) -> None:
    if log is not None:
        for name, value in row.items():
            if name != "epoch" and value is not None:
                log.add_scalar(name, value, row["epoch"])
