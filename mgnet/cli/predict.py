"""``mgnet predict``: what the network of a run says of one's own pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.progress import telling
from ..core.words import legible
from .networks import declare_place, failures, find_device, import_modules
from .shell import DAMAGED, DONE, USAGE, CommandError, reason, refused, report, say
from .values import require_output

if TYPE_CHECKING:
    from ..train.predicting import Input, Prediction
    from ..train.runs import Run

__all__ = ["declare_predict"]

# Pictures that a figure has room for, and names that a line has.
DRAWN, NAMED = 50, 3

EPILOG = """\
RUN is a folder that 'mgnet train --out' wrote, or its model.ckpt. FILE is a
picture (PNG, JPEG, GIF, BMP, WebP), an array of NumPy (.npy), or a folder,
which stands for the pictures in it.

The square in the middle is resized to the size of the training images. A run
on MNIST takes the digit alone: found on its paper, scaled, centred, and light
on dark. What was done is said.

  mgnet train lenet5 --dataset mnist --epochs 5 --out runs/digits
  mgnet predict runs/digits photo.jpg other.png --plot answers.png

Files that cannot be read are named, and the others are answered.

exit codes: 0 done, 2 usage, 4 damaged picture or checkpoint, 5 resources
"""


def declare_predict(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet predict`` to the parser of this command alone."""
    add = parser.add_argument
    add("folder", metavar="RUN", help="folder of a run, or its model.ckpt")
    add("files", metavar="FILE", nargs="+", help="pictures, or folders of them")
    light = parser.add_mutually_exclusive_group()
    text = (
        "exchange dark and light (default: where a grey picture is the other way round than the training's)"
    )
    light.add_argument("--invert", action="store_true", default=None, help=text)
    light.add_argument("--no-invert", action="store_false", dest="invert", help="never exchange them")
    add("--as-is", action="store_true", help="look for no digit, and invert only with --invert")
    add("--plot", metavar="FILE.png", help="draw the pictures as the network sees them, and its answers")
    declare_place(parser)
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_predict)
    parser.epilog = EPILOG


def _predict(arguments: argparse.Namespace) -> int:
    import_modules(arguments.modules)
    if arguments.plot is not None:
        require_output("--plot", arguments.plot, (".png", ".pdf", ".svg"))
    paths = list(_paths(arguments.files))
    device = find_device(arguments.device)
    from ..checkpoint import blamed
    from ..train import predicting, runs
    from ..train.run_folder import result

    with refused(), failures():
        path = result("RUN", arguments.folder)
        run = runs.read(path)
        run.model.to(device)
        with telling(lambda: "reading pictures"):
            inputs, errors = _inputs(run, paths, arguments.invert, arguments.as_is)
        with blamed(path):  # the pictures have the form that the run says
            answers = predicting.answers(run.model, inputs, run.mean, run.std, run.classes or ())
    _say_what_was_done(inputs, run, arguments.invert)
    if arguments.plot and answers:
        _draw(answers, arguments.plot)
    found = {each.name: _row(each) for each in answers} | {
        file: {"file": file, "error": message} for file, (message, _) in errors.items()
    }
    if arguments.json:
        rows = [found[file] for file in paths]
        say(json.dumps({"model": run.spec["name"], "dataset": run.dataset, "predictions": rows}))
    elif answers:
        say(_table([found[file] for file in paths if "best" in found[file]]))
    return max((code for _, code in errors.values()), default=DONE)


def _paths(names: Sequence[str]) -> Iterator[str]:
    """Yield files; a folder stands for the pictures in it, in the order of their names."""
    from ..data.pictures import ENDINGS, is_picture
    from ..train.run_folder import path_of

    for name in names:
        with refused():
            path_of("FILE", name, "a picture, an array of NumPy, or a folder")
        if not Path(name).is_dir():
            yield name
            continue
        # Broken links and pipes too: what is wrong with them is said where they are read.
        inside = sorted(str(path) for path in Path(name).iterdir() if is_picture(path) and not path.is_dir())
        if not inside:
            raise CommandError(
                f"FILE: got {name}, a folder without pictures; accepted: {', '.join(ENDINGS)} in it"
            )
        yield from inside


def _inputs(
    run: Run, paths: Sequence[str], invert: bool | None, as_is: bool
) -> tuple[list[Input], dict[str, tuple[str, int]]]:
    """Return pictures in the form that the network takes, and of the others the message and exit code."""
    from ..core.resources import is_shortage
    from ..data import DataError
    from ..train.predicting import prepare

    inputs, errors = [], {}
    for file in dict.fromkeys(paths):
        try:
            inputs.append(prepare(file, run.form, invert=invert, as_is=as_is))
        except DataError as error:
            errors[file] = str(error), DAMAGED
        except OSError as error:
            if is_shortage(error):
                raise
            errors[file] = reason(error), USAGE
        if file in errors:
            report(f"error: {errors[file][0]}", DONE)
    return inputs, errors


def _say_what_was_done(inputs: Sequence[Input], run: Run, invert: bool | None) -> None:
    """Say on stderr, in a line for each kind, which pictures were changed more than their size."""
    turned = [each.name for each in inputs if each.inverted] if invert is None else []
    ways = ["dark on light", "light on dark"]
    here, others = ways if run.form.kind == "digits" or not run.form.border else ways[::-1]
    always = "--invert does it always, --no-invert never"
    kinds = {
        f"{here}, and {run.dataset} is {others}: inverted ({always})": turned,
        f"the digit was found, scaled and centred as in {run.dataset} (--as-is leaves it)": [
            each.name for each in inputs if each.form == "digits"
        ],
        "no digit was found, so that all of the picture counts": [
            each.name for each in inputs if each.form == "no digit"
        ],
    }
    for words, names in kinds.items():
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            report(f"{', '.join(names[:NAMED])}{more}: {words}", DONE)


def _row(answer: Prediction) -> dict[str, Any]:
    return {
        "file": answer.name,
        "class": answer.class_name,
        "label": answer.label,
        "probability": answer.probability,
        "best": [list(pair) for pair in answer.best],
        "inverted": answer.input.inverted,
        "form": answer.input.form,
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a line for each picture: the file, and the best classes with their probabilities."""
    lines = [["file", "best", *[""] * (max(len(row["best"]) for row in rows) - 1)]]
    lines += [
        [legible(row["file"]), *(f"{legible(name)} {share:.1%}" for name, share in row["best"])]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _draw(answers: Sequence[Prediction], path: str) -> None:
    from matplotlib.figure import Figure

    from .. import plot
    from ..core.files import replacing

    if len(answers) > DRAWN:
        report(f"--plot: the first {DRAWN} of {len(answers)} pictures are drawn", DONE)
    drawn = answers[:DRAWN]
    names = [Path(each.name).name for each in drawn]
    figure = Figure(layout="constrained")  # not pyplot: no window, no backend to choose
    images, best = [each.input.image for each in drawn], [each.best for each in drawn]
    plot.predictions(images, best, names, figure=figure)
    with replacing(path) as file:
        figure.savefig(file, format=Path(path).suffix[1:].lower())
