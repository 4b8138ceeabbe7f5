"""The training loop: fit a model to a data set, and look at the test set once."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ..core import extras
from ..core.checks import count, find_device, flag, instance, shown
from ..core.precision import brain_float
from ..core.progress import Progress, telling
from ..core.signals import StoppedError, gently
from ..data import Data
from ..layers import BatchNorm
from . import judging, optimizers, recipes
from .beginning import beginning, noted, read
from .choices import Choices, frozen, names_of
from .choices import class_weights as weights_of_classes
from .history import History
from .judging import DivergedError, diverged, evaluate, not_finite, predict
from .preflight import place_of, require_data, require_fit, require_scores
from .recipes import Recipe
from .run_folder import LAST, claimed, folder
from .runs import Run
from .state import LOOK, State, kept_random_numbers, own_random_numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["DivergedError", "evaluate", "fit", "predict"]

# What to do about a run that diverged behind a checkpoint.
GO_ON = (
    "the last checkpoint is as it was, and with another rate fit(..., lr=RATE, resume=True), in the shell"
    " --lr RATE --resume, goes on from it"
)
# What a generator of torch takes as a seed; each process adds its rank.
SEEDS = 2**63 - 1


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
    init: str | os.PathLike[str] | Run | None = None,
    freeze: str | Sequence[str] = (),
    class_weights: str | Sequence[float] | None = None,
    on_epoch: Callable[[dict[str, Any]], bool | None] | None = None,
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
        Go on from ``out/last.ckpt`` if it is there; the run must be the same one: model, recipe, seed, data,
        number of processes, and what is chosen below. Two things may be others where they are given by name:
        ``epochs`` larger than before, also after the end, and ``lr``, after a divergence for example. Then
        the schedule is that of the new length from there on, and the test set is looked at again.
    overwrite : bool, default False
        Remove the run that ``out`` holds, when everything has been looked at and before the first step.
    save_every : int, optional
        Steps after which to save within an epoch too.
    progress : bool, optional
        Whether to report; by default a bar on a terminal, elsewhere a line for each epoch and at least every
        half a minute, with the time that the rest will take.
    tensorboard : path, optional
        Folder for TensorBoard; needs the extra ``tensorboard``.
    init : path or run, optional
        Begin from the weights of another run of such a model: its folder, or a checkpoint. They are taken
        over by name, all of them, or all but those of the last layer where the classes are others. Images
        are normalised as they were there. Optimiser and history begin anew. A run that goes on needs it not:
        what is given is compared with what the run was begun from.
    freeze : str or sequence of str, default ()
        Names of modules, with all that is in them, or of parameters, as ``model.named_modules()`` has them,
        that stay as they are; so do the running statistics of their norms.
    class_weights : sequence of float or "balanced", optional
        How much an image of each class counts, relative to the mean over the training images,
        :eq:`class-weights`; "balanced" is inversely to how many images the class has. Figures of the
        validation and the test set are not weighted.
    on_epoch : callable, optional
        Called after every epoch, when it is saved, with its row of the history; True ends the training as
        patience does. What it raises ends ``fit``. Of several processes the first one calls it.
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
        When the checkpoint to resume or to begin from is damaged.
    FileNotFoundError
        When there is none to begin from.
    KeyboardInterrupt
        After Ctrl-C, when the step is finished and saved, or the run where it was the last step; SIGTERM,
        SIGHUP and SIGQUIT end the process in the same way.

    Warns
    -----
    UserWarning
        When the last images of an epoch are left out, since batch normalisation needs more of them; when not
        all weights are taken over from ``init``, or the images are normalised in another way; and when a run
        goes on with another rate or more epochs.
    """
    instance("model", model, nn.Module, "a torch.nn.Module, as mgnet.models.create(name) makes one")
    instance("data", data, Data, "a Data of tensors, as mgnet.data.cifar10() and Data(train, ...) are")
    require_data(data)
    if is_name := isinstance(recipe, str):
        layers = [*model.modules()]
        kinds = ((nn.BatchNorm2d, BatchNorm), nn.Conv2d)  # norms of classifiers alone do not help
        has = (any(isinstance(layer, kind) for layer in layers) for kind in kinds)
        recipe = recipes.recipe(recipe, data.shape[0], *has)
    instance("recipe", recipe, Recipe, "a Recipe, or the name of one")
    changes = {**changes, **({} if epochs is None else {"epochs": epochs})}
    named = frozenset(changes if is_name else asdict(recipe))  # which a run that goes on may change
    recipe = recipe.changed(**changes)
    seed, target = count("seed", seed, 0, SEEDS), folder(out)
    _require_sense(target, resume, overwrite, save_every, progress, tensorboard, on_epoch)
    freeze, weights = names_of(freeze), weights_of_classes(class_weights, data)
    source = None if init is None else read(init, target)
    place = place_of(model, data.train.images.device)
    place = place if device is None else find_device(device)
    model, data = model.to(place), data.to(place)
    with ExitStack() as held:
        held.enter_context(torch.inference_mode(False))  # whatever the caller's mode is
        held.enter_context(torch.enable_grad())
        with own_random_numbers(place, seed):
            still = held.enter_context(frozen(model, freeze))
            findings = require_fit(model, data, recipe, still)
        begun = None if source is None else beginning(source, model, data)
        if source is not None:
            data = data.normalised_by(source.mean, source.std)
        elif resume and target is not None and (target / LAST).is_file():
            begun, data = noted(target / LAST, data)
        choices = Choices(freeze, weights, begun, on_epoch, named)
        run = State(model, data, recipe, seed, target, findings, choices)
        run.save_every = None if save_every is None else int(save_every)
        log = held.enter_context(_log(tensorboard))
        if target is not None:
            run.processes.first(lambda: held.enter_context(claimed(target, resume, overwrite)), place)
        held.enter_context(own_random_numbers(place, seed + run.processes.rank))
        run.start(resume)
        with gently() as stop:
            try:
                train(run, stop, progress, log)
            except DivergedError as error:
                if target is not None and (target / LAST).exists():
                    error.args = (f"{error}; {GO_ON}",)
                raise
    return run.history


def train(run: State, stop: list[int], show: bool | None, log: SummaryWriter | None) -> None:
    """Train to the end of the recipe, until patience runs out, or until a signal has come."""
    steps, epoch, position = len(run.batches), run.batches.epoch, run.batches.position
    show = show if run.processes.writes else False
    listens = run.processes.total(run.choices.on_epoch is not None, device=run.device)[0] > 0
    report = Progress(steps, run.recipe.epochs, show, epoch * steps + position)
    with telling(report.state, report.lines), closing(report):
        while len(run.history) < run.recipe.epochs and not run.history.stopped_early:
            train_epoch(run, stop, report)
            close_epoch(run)
            run.save()
            row = run.history.rows[-1]
            report.epoch(row)
            for name, value in row.items():
                if log and name != "epoch" and value is not None:
                    log.add_scalar(name, value, row["epoch"])
            if listens:
                tell(run, row)
        finish(run)


def train_epoch(run: State, stop: list[int], report: Progress) -> None:
    """Train on the batches that are left of an epoch."""
    run.trained.train()
    for module in run.still:
        module.training = False
    start = time.perf_counter()
    for x, y in run.batches:
        train_step(run, x, y)
        report.step(run.batches.epoch, run.batches.position)
        stopped = is_stopped(run, stop)
        if stopped or (run.save_every and run.batches.position % run.save_every == 0):
            run.sums.look()
            require_finite(run)
            run.sums.seconds += time.perf_counter() - start
            start = time.perf_counter()
            run.save()
        if stopped:
            report.close()
            raise StoppedError(stop[0] if stop else signal.SIGTERM)
    run.sums.look()
    run.sums.seconds += time.perf_counter() - start


def train_step(run: State, x: Tensor, y: Tensor) -> None:
    """Make one step of the optimiser."""
    recipe = run.recipe
    with brain_float(run.device, recipe.bfloat16):
        scores = run.trained(x)
    require_scores(scores, len(y))
    if not scores.requires_grad:
        raise ValueError("model: its scores do not depend on its parameters; accepted: scores that do")
    # eq: label-smoothing
    options: dict[str, Any] = {"weight": run.class_weights, "label_smoothing": recipe.label_smoothing}
    losses = F.cross_entropy(scores.float(), y, reduction="sum", **options)
    before = (run.batches.position - 1) * recipe.batch_size
    images = min(recipe.batch_size, len(run.data.train) - before)  # of all processes
    loss = losses / images  # eq: batch-loss
    step = len(run.history) * len(run.batches) + run.batches.position
    lr = run.optimizer.param_groups[0]["lr"]
    run.sums.note(step, lr, losses, (scores.detach().argmax(1) == y).sum(), len(y))
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    trained = [p for p in run.model.parameters() if p.requires_grad]  # others may have gradients of before
    run.processes.add_gradients(trained)
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(trained, recipe.clip)  # eq: clipping
    try:
        run.optimizer.step()
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise diverged(f"step {step} is beyond the numbers of its weights", lr) from error
    optimizers.set_rate(run.optimizer, recipe, step, len(run.batches))


def is_stopped(run: State, stop: list[int]) -> bool:
    """Say whether a signal came to any of the processes; on GPUs they ask each other when they look."""
    if run.processes.world > 1 and run.device.type != "cpu" and run.batches.position % LOOK:
        return False
    return bool(run.processes.total(len(stop), device=run.device)[0])


def close_epoch(run: State) -> None:
    """Look at the validation set, note the figures, and keep the weights if they are the best."""
    run.processes.same(run.model.buffers())
    require_finite(run)
    loss, accuracy = judged(run, "validation") if len(run.data.validation) else (None, None)
    sums, before = run.sums, run.history.best
    loss_sum, correct, seen = run.processes.total(sums.loss, sums.correct, sums.seen, device=run.device)
    run.history.append(
        epoch=len(run.history) + 1,
        lr=run.optimizer.param_groups[0]["lr"],
        train_loss=loss_sum / seen,
        train_accuracy=correct / seen,
        val_loss=loss,
        val_accuracy=accuracy,
        seconds=sums.seconds,
        images_per_second=seen / sums.seconds,
    )
    sums.clear()
    if run.history.best is not before:
        run.best = {name: x.detach().clone() for name, x in run.model.state_dict().items()}
    best = run.history.best
    assert best is not None  # a row has just been added
    stale = len(run.history) - best["epoch"]
    # eq: early-stopping
    run.history.stopped_early = run.recipe.patience is not None and stale >= run.recipe.patience


def tell(run: State, row: dict[str, Any]) -> None:
    """Call ``on_epoch`` in the first process; where it returns True, all of them stop."""
    answers: list[bool] = []

    def call() -> None:
        answer = None if run.choices.on_epoch is None else run.choices.on_epoch(dict(row))
        if answer is not None and not isinstance(answer, bool | np.bool_):
            raise TypeError(f"on_epoch: returned {shown(answer)}; accepted: None, or True to stop")
        answers.append(bool(answer))

    with kept_random_numbers(run.device):  # or a run that goes on would draw others
        run.processes.first(call, run.device)
    if run.processes.total(sum(answers), device=run.device)[0]:
        run.history.stopped_early = True


def finish(run: State) -> None:
    """Restore the best weights, and look at the test set with them; more epochs go on from the last ones."""
    if run.best is not None:
        run.last = {name: x.detach().clone() for name, x in run.model.state_dict().items()}
        run.model.load_state_dict(run.best)
    if run.history.test_accuracy is None:
        run.history.test_accuracy = judged(run, "test")[1]
    run.save()
    run.save_result()


def judged(run: State, part: str) -> tuple[float, float]:
    """Return mean loss and accuracy of a part; refuse a loss that is not finite."""
    loss, accuracy = judging.judge(run.model, getattr(run.data, part), run.processes)
    if not math.isfinite(loss):
        raise diverged(f"the {part} loss is {loss}", run.optimizer.param_groups[0]["lr"])
    return loss, accuracy


def require_finite(run: State) -> None:
    """Refuse weights and statistics that are not finite: they are no state to go on from."""
    wrong = [name for name in not_finite(run.model) if name not in run.infinite]
    if wrong:
        raise diverged(f"{wrong[0]} is not finite", run.optimizer.param_groups[0]["lr"])


def _require_sense(
    out: Path | None,
    resume: bool,
    overwrite: bool,
    save_every: Any,
    progress: Any,
    tensorboard: Any,
    on_epoch: Any,
) -> None:
    if progress is not None:
        flag("progress", progress)
    if save_every is not None:
        count("save_every", save_every)
    if flag("resume", resume) and flag("overwrite", overwrite):
        raise ValueError("overwrite: got True; accepted with resume: False")
    if (resume or flag("overwrite", overwrite) or save_every) and out is None:
        asked = "resume, overwrite or save_every is asked for"
        raise ValueError(f"out: got None; accepted: a folder, where {asked}")
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(f"on_epoch: got {shown(on_epoch)}; accepted: a function of a row of the history")
    if tensorboard is not None:
        extras.require("tensorboard", "tensorboard")


def _log(folder: str | os.PathLike[str] | None) -> AbstractContextManager[SummaryWriter | None]:
    if folder is None:
        return nullcontext()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
