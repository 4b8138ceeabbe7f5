"""A run that was trained, read from its checkpoint: the model, and what belongs to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint, models
from ..checkpoint import blamed
from ..core.checks import choice, count, entry, flag, instance, number, positive, probability, shown
from ..data.pictures import LARGEST
from ..data.splits import FORMS
from .history import History
from .predicting import Form, Prediction, answers, normalised, prepare
from .preflight import require_finite
from .run_folder import result

__all__ = ["Run", "belongings", "load_run", "read", "saved"]

# What is read here is the same in all of them.
FORMATS = (1, 2, 3)
# Columns of the history that every row has a number in.
MEASURED = ("epoch", "seconds", "images_per_second")


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model, and what belongs to it.

    Parameters
    ----------
    model : torch.nn.Module
        On the CPU, in evaluation mode, in the memory order that it was trained in.
    spec : dict
        By which :func:`mgnet.models.create` makes such a model.
    dataset : str
        The name of the data.
    classes : list of str or None
        The name of each label; older runs do not say.
    mean, std : list of float
        Normalisation of the images, per channel.
    digests : dict
        By which each part of the data is known again; older runs have none.
    recipe : dict
        Its fields by name.
    history : History
        Its figures.
    form : Form
        Shape of the images, and how pictures are brought into it.
    """

    model: nn.Module
    spec: dict[str, Any]
    dataset: str
    classes: list[str] | None
    mean: list[float]
    std: list[float]
    digests: dict[str, str]
    recipe: dict[str, Any]
    history: History
    form: Form

    def __repr__(self) -> str:
        classes = self.spec["num_classes"] if self.classes is None else len(self.classes)
        accuracy = self.history.test_accuracy
        test = "" if accuracy is None else f", test accuracy {accuracy:.2%}"
        return f"Run({self.spec['name']} on {self.dataset}, {classes} classes{test})"

    def predict(self, pictures: Any, *, invert: bool | None = None, as_is: bool = False) -> list[Prediction]:
        """Say what pictures show.

        The square in the middle of a picture is resized to the shape of the training images, see
        :func:`mgnet.data.pictures.fit`. Where these were digits as in MNIST, the digit is found on its paper,
        scaled and centred as theirs were, see :func:`mgnet.data.digits.centred`. A grey picture that is dark
        on light is inverted where the training images were light on dark, and the other way round.

        Parameters
        ----------
        pictures : path-like, array, or sequence of them
            Files, as :func:`mgnet.data.pictures.read` takes them, or pixels, as
            :func:`mgnet.data.pictures.from_array` does. An array of four axes is a sequence of pictures.
        invert : bool, optional
            Whether dark and light are exchanged; by default where that is needed.
        as_is : bool, default False
            Look for no digit, and invert only when that is asked for.

        Returns
        -------
        list of Prediction
            One for each picture.

        Raises
        ------
        mgnet.data.DataError
            For a file or an array that is no picture; it names which.
        TypeError
            For what is neither a picture nor a sequence.
        OSError
            For a file that is not there or cannot be opened.
        DivergedError
            For scores that are not finite.
        """
        if invert is not None:
            flag("invert", invert)
        flag("as_is", as_is)
        inputs = [
            prepare(picture, self.form, f"pictures[{i}]", invert=invert, as_is=as_is)
            for i, picture in enumerate(_several(pictures))
        ]
        return answers(self.model, inputs, self.mean, self.std, self.classes or ())

    def tensor(self, picture: Any, *, invert: bool | None = None, as_is: bool = False) -> Tensor:
        """Return a picture as the model gets it: in the form of the training images, and normalised.

        Parameters
        ----------
        picture : Prediction, path-like or array
            An answer of :meth:`predict` stands for the picture that it saw; of all else there is one picture,
            which comes into form as it does there.
        invert, as_is
            As for :meth:`predict`; an answer has its form already.

        Returns
        -------
        torch.Tensor, shape (channels, height, width)
            As :func:`mgnet.occlusion` takes it; ``run.model`` takes a batch, ``run.tensor(picture)[None]``.

        Raises
        ------
        mgnet.data.DataError
            For a file or an array that is no picture.
        ValueError
            For an answer about an image of another shape.
        OSError
            For a file that is not there or cannot be opened.
        """
        wanted = None if invert is None else flag("invert", invert)
        as_is = flag("as_is", as_is)
        if isinstance(picture, Prediction):
            seen = picture.input
            if seen.image.shape != self.form.shape:
                got = f"an answer about an image of shape {seen.image.shape}"
                raise ValueError(f"picture: got {got}; accepted: one of shape {self.form.shape}")
        else:
            seen = prepare(picture, self.form, invert=wanted, as_is=as_is)
        image: Tensor = normalised([seen], self.mean, self.std)[0][0]
        return image


def _several(pictures: Any) -> list[Any]:
    """Return pictures as a list, one of them as well."""
    if isinstance(pictures, str | os.PathLike) or getattr(pictures, "ndim", 4) < 4:
        return [pictures]
    accepted = "files or arrays of pixels, one or a sequence of them"
    instance("pictures", pictures, Iterable, accepted)
    if isinstance(pictures, bytes | bytearray):  # a sequence of numbers, which none of them means
        raise TypeError(f"pictures: got {shown(pictures)}; accepted: {accepted}")
    return list(pictures)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Return the model of a training run, with the classes and the normalisation that belong to it.

    Parameters
    ----------
    path : path-like
        The folder that :func:`mgnet.fit` wrote with ``out=``, whose run has ended, or a checkpoint in it. The
        file need not be trusted.

    Returns
    -------
    Run
        With ``model``, ``classes``, ``mean``, ``std``, and :meth:`Run.predict`.

    Raises
    ------
    CheckpointError
        For a checkpoint that is damaged or does not fit together.
    ValueError
        For a folder without a run that has ended, or a model that nobody has registered.
    FileNotFoundError
        For what is not there.

    Examples
    --------
    >>> import mgnet, tempfile
    >>> data = mgnet.data.synthetic(train=200, validation=50, test=50)
    >>> with tempfile.TemporaryDirectory() as out:
    ...     _ = mgnet.fit(mgnet.models.create("logistic", image_size=32, in_channels=3), data, epochs=1,
    ...                   out=out, progress=False)
    ...     run = load_run(out)
    >>> len(run.predict(data.test.images[:3]))
    3
    """
    return read(result("path", path))


def read(path: str | os.PathLike[str]) -> Run:
    """Read a run from a checkpoint of it, which need not be trusted; all of the run fits together.

    What is damaged or does not fit the rest is a :class:`mgnet.CheckpointError`, a model that nobody has
    registered a ValueError, and a file that is not there a FileNotFoundError.
    """
    state = saved(path)
    with blamed(path):
        spec = entry(state, "spec", dict | None, "a dictionary")
        name = None if spec is None else entry(spec, "name", str, "a string", "spec")
    if name not in models.names():
        made = "not made by name" if name is None else f"called {name[:100]!r}, which nobody has made known"
        raise ValueError(
            f"{path}: got a model {made}; accepted: one that mgnet.models.create makes, under a name of"
            " mgnet.models.register (from the shell: --import MODULE, where that is called)"
        )
    with blamed(path):
        return _run(state, spec)


def saved(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a checkpoint of a run holds, in one of the forms that are read here."""
    state = checkpoint.load(path)
    with blamed(path):
        if type(state.get("format")) is not int or state["format"] not in FORMATS:
            raise ValueError(f"format: got {shown(state.get('format'))}; accepted: one of {FORMATS}")
    return state


def belongings(state: Mapping[str, Any]) -> tuple[list[str] | None, list[float], list[float]]:
    """Return what belongs to weights: the names of the classes, and mean and deviation of the images."""
    mean = _numbers(state, "mean", number)
    std = _numbers(state, "std", positive)
    if len(mean) != len(std):
        raise ValueError(f"mean: got {len(mean)} numbers; accepted: {len(std)}, as std has")
    classes = state.get("classes")
    _require_strings("classes", classes, list | None, "a list of names")
    return classes, mean, std


def _run(state: Mapping[str, Any], spec: dict[str, Any]) -> Run:
    weights = entry(state, "model", dict, "a dictionary of tensors")
    recipe = entry(state, "recipe", dict, "a dictionary")
    channels_last = flag("recipe: channels_last", recipe.get("channels_last", False))
    dataset = entry(state, "dataset", str, "a string")
    classes, mean, std = belongings(state)
    history = _history(entry(state, "history", dict, "a dictionary"))
    model: Any = models.restore(spec, weights).eval()  # torch declares that attributes are tensors
    require_finite(model)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    digests = state.get("digests", {})
    _require_strings("digests", digests, dict, "a dictionary of strings")
    if classes and len(classes) > (most := model.spec["num_classes"]):
        raise ValueError(f"classes: got {len(classes)}; accepted: up to {most}, as the model has")
    form = _form(state, dataset, model.spec, len(mean))
    return Run(model, model.spec, dataset, classes, mean, std, digests, recipe, history, form)


def _form(state: Mapping[str, Any], dataset: str, spec: dict[str, Any], channels: int) -> Form:
    """Return the form of the training images; older runs do not say, and runs that wrote nothing either."""
    known = state.get("form") or {}
    instance("form", known, dict, "a dictionary")
    if not known:
        size = spec["image_size"]
        return Form((channels, size, size), "digits" if dataset == "mnist" else "square")
    kind = choice("form: kind", known.get("kind"), FORMS)
    shape = entry(known, "shape", list, "a list of three integers", "form")
    if len(shape) != 3 or shape[0] != channels:
        raise ValueError(f"form: shape: got {shown(shape)}; accepted: [{channels}, height, width]")
    _, height, width = (count("form: shape", n, 1, LARGEST) for n in shape)
    border = known.get("border")
    return Form(
        (channels, height, width), kind, None if border is None else probability("form: border", border)
    )


def _numbers(state: Mapping[str, Any], name: str, kind: Callable[[str, Any], float]) -> list[float]:
    values = entry(state, name, list, "a list of numbers")
    if not values:
        raise ValueError(f"{name}: got an empty list; accepted: a number for each channel")
    return [kind(name, value) for value in values]


def _require_strings(name: str, values: Any, kind: Any, what: str) -> None:
    instance(name, values, kind, what)
    for value in values.values() if isinstance(values, dict) else values or ():
        instance(name, value, str, what)


def _history(figures: Mapping[str, Any]) -> History:
    """Return the figures of a run, each of whose epochs has been measured."""
    history = History()
    history.load_state_dict(dict(figures))
    for i, row in enumerate(history.rows, 1):
        for name in MEASURED:
            number(f"history: row {i}: {name}", row[name])
    number("history: seconds", history.seconds)
    number("history: images_per_second", history.images_per_second)
    return history
