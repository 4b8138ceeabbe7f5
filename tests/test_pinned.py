"""Some 500 small problems of every kind still have the answers that are kept, but for rounding."""

from __future__ import annotations

from collections import Counter

import pinned
import pytest

# Small, so that a failure names few problems, and few, so that they do not cost more than what they test.
PARTS = 20

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("part", range(PARTS))
def test_answers_are_those_that_are_kept(part: int) -> None:
    kept = pinned.load()
    changed = []
    for seed in list(kept)[part::PARTS]:
        case = pinned.draw(seed)
        difference = pinned.close(case, kept[seed], pinned.answer(case))
        if difference:
            changed.append(f"seed {seed} ({case.name}): {difference}")
    meant = "\nIf that is meant, run 'python tests/pinned.py --write'"
    assert not changed, "\n".join(changed) + meant


def test_what_is_kept_is_of_every_kind() -> None:
    kept = pinned.load()
    cases = [pinned.draw(seed) for seed in kept]
    names = Counter(case.name for case in cases)
    assert len(kept) == pinned.COUNT
    assert len(names) == 3 * len(pinned.METHODS) + 1  # "exact" is for an interval
    assert min(names.values()) >= 5
    statuses = Counter(answer.status for answer in kept.values())
    assert statuses.keys() == {"CONVERGED", "MAXITER", "STAGNATED", "DIVERGED"}
    assert sum(bool(case.leaves) for case in cases) > 50
    assert sum(case.twice for case in cases) > 20


def test_a_change_is_said(tmp_path: pytest.TempPathFactory) -> None:
    seed, kept = next(iter(pinned.load().items()))
    case = pinned.draw(seed)
    line = pinned.row(case, kept)
    assert pinned.compared([line], [line]) == [f"{case.name:12} same   1  differing   0"]
    other = pinned.row(case, pinned.answer(pinned.draw(seed).shaken(0.1)))
    (said,) = pinned.compared([line], [other])
    assert str(seed) in said
    assert "differing   1" in said
