"""The state of a training run: what it is made of, what of that a checkpoint holds, and how it goes on."""

from __future__ import annotations

import copy
import json
import math
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint, models
from ..checkpoint import blamed
from ..core.checks import count, instance, number, shown
from ..core.processes import Processes
from ..data import Batches, Data
from . import optimizers
from .beginning import Beginning
from .choices import Choices
from .history import History
from .judging import diverged, not_finite
from .preflight import PARTS, Findings
from .recipes import Recipe
from .run_folder import BEST, CSV, JSON, LAST

__all__ = ["LOOK", "State", "Sums", "generator", "kept_random_numbers", "own_random_numbers"]

# As many rows of figures a checkpoint holds.
EPOCHS = 30_000
# What a checkpoint holds is said by the number; see State.save.
FORMAT = 3
# What the form before had not got, as nobody could choose it.
OLDER: dict[str, Any] = {"init": None, "freeze": [], "class_weights": None}
KINDS: dict[str, type | tuple[type, ...]] = {
    "spec": (dict, type(None)),
    "init": (str, type(None)),
    "class_weights": (list, type(None)),
    "dataset": str,
    "seed": int,
    "processes": int,
    **dict.fromkeys(("freeze", "trained", "still", "layers", "classes", "mean", "std"), list),
    **dict.fromkeys(("digests", "recipe", "model", "optimizer", "batches", "history"), dict),
}
SAME = (
    *("spec", "init", "freeze", "class_weights", "trained", "still"),
    *("dataset", "classes", "seed", "processes"),
)
# Steps between two looks at the losses on a GPU; each look waits for it.
LOOK = 25


class Sums:
    """The losses, correct answers, images and seconds of the steps of an epoch, in one process."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin an epoch."""
        self.loss, self.correct, self.seen, self.seconds = 0.0, 0, 0, 0.0
        # Steps whose losses nobody has looked at: number, learning rate, images, loss and correct ones.
        self._unseen: list[tuple[int, float, int, Tensor]] = []

    def note(self, step: int, lr: float, losses: Tensor, correct: Tensor, images: int) -> None:
        """Take the figures of a step; on a CPU, and every so often on a GPU, look at them."""
        self._unseen.append((step, lr, images, torch.stack((losses.detach().double(), correct.double()))))
        if losses.device.type == "cpu" or len(self._unseen) >= LOOK:
            self.look()

    def look(self) -> None:
        """Add up the losses since the last look; one that is not finite is a :class:`mgnet.DivergedError`."""
        # One look at all of them.
        figures = torch.stack([figure for *_, figure in self._unseen]).tolist() if self._unseen else []
        for (step, lr, images, _), (loss, correct) in zip(self._unseen, figures, strict=True):
            if not math.isfinite(loss):
                raise diverged(f"the loss of step {step} is {loss}", lr)
            self.loss += loss
            self.correct += int(correct)
            self.seen += images
        self._unseen.clear()

    def state(self) -> list[Any]:
        """Return the sums as a checkpoint holds them."""
        return [self.loss, self.correct, self.seen, self.seconds]

    def load(self, state: list[Any]) -> None:
        """Take up what :meth:`state` returned."""
        loss, correct, seen, seconds = state
        self.loss, self.seconds = number("loss", loss), number("seconds", seconds)
        self.correct, self.seen = count("correct", correct, 0), count("seen", seen, 0)


class State:
    """A training run between two steps, on its device; ``mgnet.train.loop.train`` takes it to its end."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        seed: int,
        out: Path | None,
        findings: Findings,
        choices: Choices,
    ) -> None:
        self.model, self.data, self.recipe, self.seed = model, data, recipe, seed
        self.device, self.out, self.still = data.train.images.device, out, findings.still
        self.choices = choices
        self.class_weights = self._weights(findings.outputs)
        self.processes = Processes()
        if recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = self._batches(findings.least)
        self.optimizer = optimizers.create(self.model, recipe)
        optimizers.set_rate(self.optimizer, recipe, 0, len(self.batches))
        self.save_every: int | None = None
        self.history, self.sums = History(), Sums()
        # Weights of the best epoch, and those of the last one where the model has others already.
        self.best: dict[str, Tensor] | None = None
        self.last: dict[str, Tensor] | None = None
        # What is not finite from the start is meant so: a mask of minus infinities, for example.
        self.infinite = not_finite(self.model)
        # The digests need a pass over all images, and only a checkpoint holds them.
        self.digests = {part: getattr(data, part).digest() for part in PARTS} if out else {}
        self.form = {"kind": data.form, "shape": list(data.shape), "border": data.border} if out else {}
        if out and recipe.epochs > EPOCHS:
            raise ValueError(f"epochs: got {recipe.epochs}; accepted with out: at most {EPOCHS}")
        checkpoint.require_plain(self.configuration())

    def _weights(self, outputs: int) -> Tensor | None:
        """Return the weight of each class, and 1 for outputs that stand for none."""
        given = self.choices.class_weights
        if given is None:
            return None
        rest = [1.0] * (outputs - len(given))
        return torch.tensor([*given, *rest], dtype=torch.float32, device=self.device)

    def _batches(self, least: int) -> Batches:
        recipe, processes, images = self.recipe, self.processes, len(self.data.train)
        if images < least * processes.world:
            accepted = f"at least {least * processes.world}, for batch normalisation"
            raise ValueError(f"data: got {images} images in data.train; accepted: {accepted}")
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

    def start(self, resume: bool) -> None:
        """Take up the state of a checkpoint, where that is wanted and there is one; else begin."""
        texts: Sequence[str] = ()
        if resume and self.out and (self.out / LAST).exists():
            texts = self.load(self.out / LAST)
        elif self.choices.init:
            texts = self.begin(self.choices.init)
        for text in texts if self.processes.writes else ():
            warnings.warn(text, stacklevel=3)
        self.trained: nn.Module = torch.compile(self.model) if self.recipe.compile else self.model  # type: ignore[assignment]
        self.processes.same((*self.model.parameters(), *self.model.buffers()))

    def begin(self, init: Beginning) -> Sequence[str]:
        """Take over the weights of another run; return what is to be said of that."""
        self.model.load_state_dict({**self.model.state_dict(), **init.weights})
        self.infinite = not_finite(self.model)
        self.history.notes += [f"begun from weights of {init.digest}", *init.said]
        return init.said

    def configuration(self) -> dict[str, Any]:
        """Say what is being done, in plain types."""
        return {
            "format": FORMAT,
            "spec": copy.deepcopy(getattr(self.model, "spec", None)),
            "init": self.choices.init and self.choices.init.digest,
            "freeze": list(self.choices.freeze),
            "class_weights": self.choices.class_weights and list(self.choices.class_weights),
            "trained": [name for name, p in self.model.named_parameters() if p.requires_grad],
            "still": [name for name, module in self.model.named_modules() if module in self.still],
            # What a model prints of itself, without addresses, which every process has others of.
            "layers": [re.sub(r"0x[0-9a-f]+", "", line).strip() for line in repr(self.model).splitlines()],
            "dataset": str(self.data.name),
            "classes": [str(name) for name in self.data.classes],
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            "form": self.form,
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
                "model": self.last or self.model.state_dict(),
                "optimizer": self.optimizer.state_dict()["state"],
                "batches": self.batches.state_dict(),
                "best": self.best,
                "ranks": ranks,
            },
        )

    def save_result(self) -> None:
        """Write the weights that the run ends with, and its figures, if there is a folder for them."""
        if self.out and self.processes.writes:
            checkpoint.save(self.out / BEST, {**self.configuration(), "model": self.model.state_dict()})
            self.history.to_csv(self.out / CSV)
            self.history.to_json(self.out / JSON)

    def own_state(self) -> dict[str, Any]:
        """Return what each process has of its own: to go on with sums of all would round otherwise."""
        own = generator(self.device)
        return {
            "sums": self.sums.state(),
            "cpu": torch.get_rng_state(),
            "device": own and own.get_rng_state(self.device),
        }

    def load(self, path: Path) -> Sequence[str]:
        """Take up the state of a run, if it is this one; return what is another than before."""
        state = checkpoint.load(path)
        with blamed(path):
            if type(state["format"]) is not int or state["format"] not in (FORMAT - 1, FORMAT):
                raise ValueError(f"format: got {shown(state['format'])}; accepted: {FORMAT - 1} or {FORMAT}")
            state = {**OLDER, **state}
            for name, kind in KINDS.items():
                instance(name, state[name], kind, "what a run saves")
            different = self.difference(state)
        if different:
            raise ValueError(different)
        with blamed(path):
            before = Recipe(**state["recipe"])
            self.load_state_dict(state)
        return self._changed(before)

    def difference(self, state: dict[str, Any]) -> str:
        """Say what makes the state of a run another one's, if anything does."""
        mine, theirs = _flat(self.configuration()), _flat(state)
        json.dumps(theirs)  # which refuses tensors: a comparison with one is no answer
        mine |= _shapes(self.model.state_dict())
        theirs |= _shapes(state["model"])
        for name in {**mine, **theirs}:
            got, begun = mine.get(name), theirs.get(name)
            if got == begun:
                continue
            accepted = _accepted(name, mine, theirs, state["history"], self.choices.named)
            if accepted and name == "init" and self.choices.init:
                return self._begun_otherwise(self.choices.init, begun)
            if accepted:
                said, had = _differing(name, got, begun)
                return f"{name}: got {said}, but {self.out} {had}; accepted: {accepted}"
        return ""

    def _begun_otherwise(self, init: Beginning, begun: str | None) -> str:
        """Say that a run was not begun from what is given, by its name: a digest tells nobody which."""
        was = f"from weights of {begun}" if begun else "without init"
        accepted = f"{'what it was begun from, or no init' if begun else 'no init'}, or another folder"
        got = f"{init.name} (weights of {init.digest})"
        return f"init: got {got}, but {self.out} was begun {was}; accepted: {accepted}"

    def _changed(self, before: Recipe) -> list[str]:
        """Note and return what is another than before: the length of the run, and its learning rate."""
        recipe, history, texts = self.recipe, self.history, []
        if recipe.lr != before.lr:
            texts.append(f"lr {recipe.lr:g} instead of {before.lr:g}")
        if recipe.epochs != before.epochs:
            texts.append(f"{recipe.epochs} epochs instead of {before.epochs}, with their schedule")
            if history.test_accuracy is not None:
                seen = f"the first time its accuracy was {history.test_accuracy:.4f}"
                texts.append(f"the test set will be looked at again ({seen})")
            history.test_accuracy, history.stopped_early = None, False
        if not texts:
            return []
        history.notes.append(f"goes on from epoch {self.batches.epoch + 1} with {', and '.join(texts)}")
        return [f"{self.out}: {history.notes[-1]}"]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`save` saved."""
        self.batches.load_state_dict(state["batches"])
        self.history.load_state_dict(state["history"])
        own = state["ranks"][self.processes.rank]
        self.sums.load(own["sums"])
        self.best = state["best"]
        if self.best is not None and _shapes(self.best) != _shapes(state["model"]):
            raise ValueError("the best weights have other shapes than the last ones")
        self.model.load_state_dict(state["model"])
        optimizers.load(self.optimizer, state["optimizer"])
        steps = len(self.batches)
        done = self.batches.epoch * steps + self.batches.position
        optimizers.set_rate(self.optimizer, self.recipe, done, steps)
        torch.set_rng_state(own["cpu"])
        numbers = generator(self.device)
        if numbers and own["device"] is not None:
            numbers.set_rng_state(own["device"], self.device)


def _flat(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a run the same one, by the names that a caller knows."""
    whole = {name: configuration[name] for name in SAME}
    spec = configuration["spec"]
    if spec and spec.get("name") in models.names():  # options that came later are at their defaults
        whole["spec"] = {"name": spec["name"], **models.defaults(spec["name"]), **spec}
    layers = {f"model, line {i}": line for i, line in enumerate(configuration["layers"], 1)}
    parts = {f"data.{part}": configuration["digests"].get(part) for part in PARTS}
    fields = {**configuration["recipe"]}
    return {**whole, **parts, **fields, **layers, "milestones": tuple(fields["milestones"])}


def _differing(name: str, got: Any, begun: Any) -> tuple[str, str]:
    """Say what a run was asked for, and what it has, in the words of who asked."""
    if name == "class_weights":  # they are scaled: nobody has typed these numbers
        said = "None" if got is None else "weights of the classes"
        had = "None" if begun is None else "other ones" if got else "weights of the classes"
        return said, f"was begun with {had}"
    if name == "epochs":  # it may have been begun with fewer, or with another rate
        return shown(got), f"goes to {shown(begun)}"
    return shown(got), f"{'has' if name == 'lr' else 'was begun with'} {shown(begun)}"


def _accepted(
    name: str, mine: dict[str, Any], theirs: dict[str, Any], figures: dict[str, Any], named: Collection[str]
) -> str:
    """Say what is accepted instead of a difference; nothing where that is.

    A run may get more epochs and, as long as some are left, another rate, where the caller has asked for it.
    """
    done, more = len(figures["rows"]), mine["epochs"] > theirs["epochs"] and "epochs" in named
    ended = figures["stopped_early"] or done >= theirs["epochs"]
    if name == "epochs":
        least = f"{theirs['epochs']}, of which {done} are done, or more by epochs=K (--epochs K)"
        return "" if more else least
    if name == "lr" and ended and not more:
        return "the same, or more epochs too, since it has ended"
    if name == "lr":
        return "" if "lr" in named else "the same, or another one by lr=RATE (--lr RATE)"
    return "the same, or another folder"


def _shapes(weights: dict[str, Any]) -> dict[str, str]:
    """Return what kind of tensor each of a model's is."""
    return {f"model.{name}": f"{x.dtype} of shape {tuple(x.shape)}" for name, x in weights.items()}


@contextmanager
def kept_random_numbers(device: torch.device) -> Iterator[None]:
    """Put the generators of the CPU and of the device back at the end."""
    with torch.random.fork_rng([device] if generator(device) else [], device_type=device.type):
        yield


@contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the generators of the CPU and of the device; torch.manual_seed would seed those of all devices."""
    own = generator(device)
    with kept_random_numbers(device):
        torch.default_generator.manual_seed(seed)
        if own:
            with own.device(device):
                own.manual_seed(seed)
        yield


def generator(device: torch.device) -> ModuleType | None:
    """Return the part of torch that has the random numbers of a device, if it is not the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device)
