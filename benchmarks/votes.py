"""Votes of several people, merged: scores of the methods with intervals, and how far the voters agree."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ballot import ORIGINAL
from benchmarks.bradley_terry import bradley_terry, krippendorff_alpha, win_rates
from benchmarks.finished import read_json
from lua_lightning.errors import UserError

FORMAT, VERSION = "lua-lightning votes", 1
SAME = ("protocol", "generator", "size")  # what all merged files must share
CHOICES = ("left", "right", "tie")
RESAMPLES, CONFIDENCE = 1000, 0.95
FIELDS: dict[str, type] = {"prompt": int, "left": str, "right": str, "choice": str, "attention": bool}


@dataclass(frozen=True)
class Vote:
    """What one person chose of one pair."""

    voter: str
    """Who; two people never share a name here."""
    prompt: int
    """Number of the prompt."""
    left: str
    """Method of the left image, `original` or `spoiled` in an attention pair."""
    right: str
    """Method of the right image."""
    choice: str
    """`left`, `right` or `tie`."""
    attention: bool = False
    """Whether it is an attention pair, which counts for no method."""

    @property
    def chosen(self) -> str | None:
        """The preferred method; None where the voter saw no difference."""
        return {"left": self.left, "right": self.right}.get(self.choice)

    @property
    def what(self) -> tuple[int, str, str]:
        """What was compared, whatever the sides."""
        one, two = sorted((self.left, self.right))
        return self.prompt, one, two


def read_votes(paths: Sequence[Path]) -> tuple[dict[str, Any], list[Vote]]:
    """Return the facts that vote files share, and all votes; of files of the same voter the fullest counts.

    Raises:
        UserError: A file is no vote file or damaged, or the files are of different benchmarks.
    """
    files: dict[tuple[str, str], dict[str, Any]] = {}
    shared: dict[str, Any] = {}
    for path in paths:
        content = read_json(path)
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
            raise UserError(f"{path} is not a file of votes: give files that the page of `lua-lightning vote` exported")
        lacking = [key for key in (*SAME, "ballot", "voter", "mark", "votes") if key not in content]
        if lacking or not isinstance(content["votes"], list):
            raise UserError(f"{path} lacks {(lacking or ['votes'])[0]}: export the votes again")
        for key in SAME:
            if shared.setdefault(key, content[key]) != content[key]:
                raise UserError(
                    f"{path} is of another benchmark: its {key} is {content[key]!r}, that of {paths[0]} is "
                    f"{shared[key]!r}; merge votes of one benchmark only"
                )
        content["votes"] = [_checked(vote, path, number) for number, vote in enumerate(content["votes"], 1)]
        key = (str(content["mark"]), str(content["ballot"]))
        if key not in files or len(content["votes"]) >= len(files[key]["votes"]):
            files[key] = content
    return shared, _named(files)


def _checked(vote: Any, path: Path, number: int) -> dict[str, Any]:
    wrong = [key for key, kind in FIELDS.items() if not isinstance(vote, dict) or type(vote.get(key)) is not kind]
    if not wrong and vote["choice"] not in CHOICES:
        wrong = ["choice"]
    if not wrong and vote["left"] == vote["right"]:
        wrong = ["right"]
    if wrong:
        raise UserError(f"{path}: {wrong[0]} of vote {number} is missing or wrong: export the votes again")
    return {key: vote[key] for key in FIELDS}


def _named(files: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Vote]:
    """Return all votes, with a number after the name of a voter whose name another has taken."""
    names: dict[str, str] = {}
    votes = []
    for (mark, _), content in files.items():
        if mark not in names:
            name, number = str(content["voter"]), 1
            while (name if number == 1 else f"{name} ({number})") in names.values():
                number += 1
            names[mark] = name if number == 1 else f"{name} ({number})"
        votes += [Vote(names[mark], **vote) for vote in content["votes"]]
    return votes


def failed_attention(votes: Sequence[Vote]) -> dict[str, tuple[int, int]]:
    """Return by voter how many attention pairs they failed, and of how many."""
    counts: dict[str, list[int]] = {vote.voter: [0, 0] for vote in votes}
    for vote in votes:
        if vote.attention:
            counts[vote.voter][0] += vote.chosen != ORIGINAL
            counts[vote.voter][1] += 1
    return {voter: (failed, shown) for voter, (failed, shown) in counts.items()}


def wins_of(votes: Sequence[Vote], methods: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Return the weighted wins, (B, M, M): the row's method over the column's, half of one each way for a tie.

    Args:
        votes: V votes without attention pairs.
        methods: M names.
        weights: (B, V), how much each vote counts in each of B tables.
    """
    place = {name: index for index, name in enumerate(methods)}
    table = np.zeros((len(votes), len(methods) ** 2))
    for row, vote in enumerate(votes):
        left, right = place[vote.left], place[vote.right]
        won = {"left": 1.0, "right": 0.0, "tie": 0.5}[vote.choice]
        table[row, left * len(methods) + right] += won
        table[row, right * len(methods) + left] += 1 - won
    return (weights @ table).reshape(-1, len(methods), len(methods))


def scores(votes: Sequence[Vote], seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
    """Return by method its win rate and its Bradley-Terry score, each with a 95 % percentile bootstrap interval.

    Voters and prompts are drawn with replacement, independently of each other (the pigeonhole bootstrap,
    doi 10.1214/07-AOAS122), since the votes of one voter and those on one prompt are alike. With few of both the
    intervals are too narrow.

    Args:
        votes: Attention pairs among them are left out.
        seed: Of the resampling.
    """
    votes = [vote for vote in votes if not vote.attention]
    methods = sorted({name for vote in votes for name in (vote.left, vote.right)})
    draw = np.random.default_rng(seed)
    weights = np.ones((1 + RESAMPLES, len(votes)))
    for group in ([vote.voter for vote in votes], [vote.prompt for vote in votes]):
        names, member = np.unique(group, return_inverse=True)
        counts = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        weights[1:] *= counts[:, member]
    wins = wins_of(votes, methods, weights)
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in methods}
    edges = (1 - CONFIDENCE) / 2 * 100, (1 + CONFIDENCE) / 2 * 100
    for key, values in (("win_rate", win_rates(wins)), ("preference", bradley_terry(wins))):
        lows, highs = np.nanpercentile(values[1:], edges, axis=0)
        for index, name in enumerate(methods):
            found[name][key] = {
                "value": float(values[0, index]),
                "low": float(lows[index]),
                "high": float(highs[index]),
            }
    return found


def agreement(votes: Sequence[Vote]) -> dict[str, float | int | None]:
    """Return how far voters agree on pairs that several of them saw.

    Returns:
        `pairs`, the number of such pairs; `same`, the share of judgements of two voters that are the same; `alpha`,
        Krippendorff's, in which no method's name and no side counts as such. None where there are too few votes.
    """
    units: dict[tuple[int, str, str], dict[str, str]] = defaultdict(dict)
    for vote in votes:
        if not vote.attention:
            chosen = vote.chosen
            units[vote.what][vote.voter] = "tie" if chosen is None else "one" if chosen == vote.what[1] else "two"
    seen = [list(unit.values()) for unit in units.values() if len(unit) > 1]
    judged = [one == other for unit in seen for one, other in itertools.combinations(unit, 2)]
    mirror = {"one": "two", "two": "one", "tie": "tie"}
    alpha = krippendorff_alpha([*seen, *([mirror[name] for name in unit] for unit in seen)])
    return {
        "pairs": len(seen),
        "same": float(np.mean(judged)) if judged else None,
        "alpha": None if np.isnan(alpha) else alpha,
    }


def summary(paths: Sequence[Path], allowed: int | None = None) -> dict[str, Any]:
    """Return what the votes of some files say; `votes.json` of a benchmark holds it.

    Args:
        paths: Exported files.
        allowed: The votes of those who failed more attention pairs than this are left out; None keeps all.

    Raises:
        UserError: A file is wrong, or no vote is left.
    """
    facts, votes = read_votes(paths)
    failed = failed_attention(votes)
    left_out = {voter for voter, (count, _) in failed.items() if allowed is not None and count > allowed}
    counted = [vote for vote in votes if vote.voter not in left_out]
    if all(vote.attention for vote in counted):
        raise UserError("no vote is left: give files with votes, or a larger --allowed")
    voters = []
    for name, (count, shown) in failed.items():
        theirs = [vote for vote in votes if vote.voter == name and not vote.attention]
        shares = {choice: sum(vote.choice == choice for vote in theirs) / max(1, len(theirs)) for choice in CHOICES}
        entry = {"voter": name, "votes": len(theirs), "left": shares["left"], "ties": shares["tie"]}
        voters.append({**entry, "failed": count, "attention": shown, "counted": name not in left_out})
    real = [vote for vote in counted if not vote.attention]
    return {
        **facts,
        "votes": len(real),
        "prompts": len({vote.prompt for vote in real}),
        "voters": voters,
        "agreement": agreement(counted),
        "scores": scores(counted),
    }
