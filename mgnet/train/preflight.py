"""What is looked at before the first step: whether model, data and recipe fit each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import choice, shown
from ..core.precision import brain_float
from ..data import Data, Split
from ..data.splits import FORMS
from ..layers.scratch import NORMS, TRACKING
from .recipes import Recipe

__all__ = ["Findings", "evaluating", "place_of", "require_answer", "require_data", "require_finite"]
__all__ += ["require_fit", "require_scores"]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Findings:
    """What a run has to heed.

    ``still`` are the modules that stay in evaluation mode, ``least`` is how many images each process needs
    at a time, for batch normalisation's sake, 0 without it, and ``outputs`` how many scores an image gets.
    """

    still: list[nn.Module]
    least: int
    outputs: int


def require_data(data: Data) -> None:
    """Refuse a data set whose parts do not fit each other; only its validation set may be empty."""
    if not isinstance(data.name, str):
        raise TypeError(f"data: got {shown(data.name)} as data.name; accepted: a string")
    if not isinstance(data.classes, list | tuple) or not all(isinstance(name, str) for name in data.classes):
        raise TypeError(f"data: got {shown(data.classes)} as data.classes; accepted: a list of names")
    choice("data.form", data.form, FORMS)
    for name in PARTS:
        part = getattr(data, name)
        if not isinstance(part, Split):
            raise TypeError(f"data: got {shown(part)} as data.{name}; accepted: a Split")
        if not len(part) and name != "validation":
            raise ValueError(f"data: got no images in data.{name}; accepted: at least one")
        for what in ("shape", "mean", "std") if len(part) else ():
            own, others = getattr(part, what), getattr(data.train, what)
            if own != others:
                got = f"{what} {own} in data.{name} and {others} in data.train"
                raise ValueError(f"data: got {got}; accepted: the same")


def require_fit(model: nn.Module, data: Data, recipe: Recipe, frozen: Sequence[nn.Module] = ()) -> Findings:
    """Refuse a model that cannot be trained on a data set; return what the run has to heed.

    ``frozen`` are norms that are known to be, though they may have no numbers to tell that by.
    It is asked once, in evaluation mode. Lazy layers take their shapes here, and their numbers from torch's
    generators.
    """
    if recipe.patience is not None and not len(data.validation):
        raise ValueError(f"patience: got {recipe.patience}; accepted without a validation set: None")
    if recipe.compile:
        _require_compiler(data.train.images.device)
    still = _still(model, frozen)
    norms = [m for m in model.modules() if isinstance(m, NORMS) and m not in still]
    with _values_of_an_image(norms) as values, brain_float(data.train.images.device, recipe.bfloat16):
        scores = _answer(model, data.train)
    for name in PARTS:
        _require_labels(scores, getattr(data, name), f"data.{name}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("model: got no parameter to train; accepted: at least one that requires a gradient")
    require_finite(model)
    least = 0 if not norms else 2 if min(values, default=2) < 2 else 1
    return Findings(still, least, scores.shape[1])


def require_answer(model: nn.Module, split: Split) -> None:
    """Refuse a model that does not give scores for the images of a split, or not for its labels."""
    if len(split):
        _require_labels(_answer(model, split), split, "split")


def place_of(model: nn.Module, default: torch.device) -> torch.device:
    """Return where a model's first parameter or buffer is; the default for one that has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_meta:
            raise ValueError("model: got parameters without numbers, on the meta device; accepted: numbers")
        return tensor.device
    return default


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each module back into its own at the end; without gradients."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _still(model: nn.Module, frozen: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the modules that training mode is not for: set apart by the caller, or norms that are frozen."""
    apart = [module for module in model.modules() if model.training and not module.training]
    for module in model.modules():
        numbers = list(module.parameters(recurse=False))
        fixed = bool(numbers) and not any(p.requires_grad for p in numbers)
        if fixed and isinstance(module, TRACKING):
            apart.append(module)
    return [*apart, *frozen]


def _answer(model: nn.Module, split: Split) -> Tensor:
    """Return the scores for two images; in an answer for one, the batch's axis could be missing unseen."""
    images = split.normalise(split.images[:1]).repeat(2, 1, 1, 1)
    try:
        with evaluating(model):
            scores: Any = model(images)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        size, said = "×".join(map(str, split.shape)), f"{type(error).__name__}: {error}"
        raise ValueError(f"model: does not take images of {size} ({said})") from error
    require_scores(scores, 2)
    return scores


def require_scores(scores: Any, images: int) -> None:
    """Refuse what is no tensor of floats with one row for each image."""
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        raise TypeError(f"model: gave {shown(scores)} for images; accepted: a tensor of scores")
    if scores.ndim != 2 or len(scores) != images:
        got = f"shape {tuple(scores.shape)} for {images} images"
        raise ValueError(f"model: gave {got}; accepted: ({images}, classes)")


def _require_labels(scores: Tensor, split: Split, name: str) -> None:
    wrong = ((split.labels < 0) | (split.labels >= scores.shape[1])).nonzero()
    if len(wrong):
        i = int(wrong[0])
        got, most = f"{int(split.labels[i])} in {name}, image {i} (from 0)", scores.shape[1]
        raise ValueError(f"labels: got {got}; accepted: 0 to {most - 1}, since the model gives {most} scores")


def require_finite(model: nn.Module) -> None:
    """Refuse parameters that are not finite, naming the first."""
    for name, p in model.named_parameters():
        if not p.isfinite().all():
            raise ValueError(f"model: got {name} with numbers that are not finite; accepted: finite ones")


def _require_compiler(device: torch.device) -> None:
    """Compile something small, rather than find out in the first step that nothing can be."""
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"compile: got True; accepted on this machine: False ({reason})") from error


@contextmanager
def _values_of_an_image(norms: Sequence[nn.Module]) -> Iterator[list[float]]:
    """Note how many values of a channel one image gives to each norm that is asked."""
    values: list[float] = []

    def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values.append(inputs[0].numel() / inputs[0].shape[1] / 2)

    with ExitStack() as hooks:
        for norm in norms:
            hooks.callback(norm.register_forward_pre_hook(note).remove)
        yield values
