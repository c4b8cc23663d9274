"""Votes: simulated voters whose preferences are known, and files that are wrong."""

import json

import numpy as np
import pytest

from benchmarks.ballot import ORIGINAL, SPOILED, Pair, ballot, choose_pairs, page, spoiled
from benchmarks.commands import vote, votes
from benchmarks.finished import images_of, read_results
from benchmarks.protocol import VERSION
from benchmarks.votes import FORMAT, Vote, agreement, failed_attention, read_votes, scores, summary
from lua_lightning.commands.command import run_command
from lua_lightning.errors import UserError
from tests.benchmarks.finished_run import finished

STRENGTHS = {"bicubic": -1.5, "swinir": 0.0, "lua": 0.5, "direct": 1.0}


def simulated(pairs, voter, seed, careless=False):
    """Return the votes of one person: the Bradley-Terry model's choices, or a coin's from a careless one."""
    draw = np.random.default_rng(seed)
    found = []
    for index in draw.permutation(len(pairs)):
        pair = pairs[index]
        left, right = (pair.one, pair.two) if draw.random() < 0.5 else (pair.two, pair.one)
        margin = STRENGTHS.get(left, 0) - STRENGTHS.get(right, 0)
        if pair.source:
            margin = 9 if left == ORIGINAL else -9
        chance = 0.5 if careless else 1 / (1 + np.exp(-margin))
        choice = "left" if draw.random() < chance else "right"
        found.append(Vote(voter, pair.prompt, left, right, choice, bool(pair.source)))
    return found


def saved(path, cast, **changes):
    """Write the file that the page exports."""
    lines = [{key: value for key, value in vars(one).items() if key != "voter"} | {"seconds": 1.5} for one in cast]
    content = {
        "format": FORMAT, "version": 1, "protocol": VERSION, "generator": "tiny-sdxl", "size": 512, "ballot": "b0",
        "voter": cast[0].voter, "mark": cast[0].voter, "votes": lines,
    }  # fmt: skip
    path.write_text(json.dumps(content | changes))
    return path


def test_known_preferences_are_recovered_with_intervals_that_hold_them():
    pairs = choose_pairs(list(STRENGTHS), 40, 0, 5, seed=0)
    cast = [one for seed in range(12) for one in simulated(pairs, f"voter {seed}", seed)]
    found = scores(cast)
    true = np.array(list(STRENGTHS.values())) - np.mean(list(STRENGTHS.values()))
    for (name, score), strength in zip(((name, found[name]) for name in STRENGTHS), true, strict=True):
        assert score["preference"]["value"] == pytest.approx(strength, abs=0.15), name
        assert score["preference"]["low"] < strength < score["preference"]["high"]
        assert score["win_rate"]["low"] <= score["win_rate"]["value"] <= score["win_rate"]["high"]
        others = [1 / (1 + np.exp(other - STRENGTHS[name])) for key, other in STRENGTHS.items() if key != name]
        assert score["win_rate"]["value"] == pytest.approx(np.mean(others), abs=0.05)


def test_more_votes_give_narrower_intervals():
    widths = []
    for voters in (2, 20):
        pairs = choose_pairs(list(STRENGTHS), 4 * voters, 0, 0, seed=0)
        cast = [one for seed in range(voters) for one in simulated(pairs, f"voter {seed}", seed)]
        preference = scores(cast)["lua"]["preference"]
        widths.append(preference["high"] - preference["low"])
    assert widths[1] < widths[0] / 2


def test_the_sides_and_the_order_of_votes_do_not_matter():
    cast = simulated(choose_pairs(list(STRENGTHS), 6, 0, 0, 0), "ada", 1)
    turned = [Vote(one.voter, one.prompt, one.right, one.left, {"left": "right", "right": "left"}[one.choice])
              for one in reversed(cast)]  # fmt: skip
    for name, score in scores(cast).items():
        assert scores(turned)[name]["preference"]["value"] == pytest.approx(score["preference"]["value"])


def test_every_two_methods_meet_equally_often_and_no_pair_twice():
    pairs = choose_pairs(list(STRENGTHS), 5, 20, 3, seed=2)
    real = [pair for pair in pairs if not pair.source]
    assert len(real) == 20
    assert len(set(pairs)) == 23
    counts = [
        sum({pair.one, pair.two} == {one, two} for pair in real) for one in STRENGTHS for two in STRENGTHS if one < two
    ]
    assert set(counts) <= {3, 4}
    assert all((pair.one, pair.two) == (ORIGINAL, SPOILED) for pair in pairs if pair.source)
    assert choose_pairs(["a", "b"], 2, 0, 99, 0).count(Pair(0, ORIGINAL, SPOILED, "a")) == 1


def test_agreement_counts_what_several_voters_saw():
    def two(first, second):
        return [Vote("ada", 0, "lua", "swinir", first), Vote("bob", 0, "swinir", "lua", second)]

    assert agreement(two("left", "right")) == {"pairs": 1, "same": 1.0, "alpha": 1.0}
    assert agreement(two("left", "left"))["same"] == 0
    assert agreement(two("left", "right")[:1]) == {"pairs": 0, "same": None, "alpha": None}


def test_careless_voters_fail_attention_pairs_and_can_be_left_out(tmp_path):
    pairs = choose_pairs(list(STRENGTHS), 30, 0, 10, seed=0)
    files = [
        saved(tmp_path / f"{name}.json", simulated(pairs, name, seed, careless=name == "eve"))
        for seed, name in enumerate(("ada", "bob", "eve"))
    ]
    failed = failed_attention(read_votes(files)[1])
    assert failed["ada"] == failed["bob"] == (0, 10)
    assert failed["eve"][0] > 2
    whole, careful = summary(files), summary(files, allowed=2)
    assert (whole["votes"], careful["votes"]) == (540, 360)
    assert [entry["counted"] for entry in careful["voters"]] == [True, True, False]
    assert careful["scores"]["bicubic"]["win_rate"]["value"] < whole["scores"]["bicubic"]["win_rate"]["value"]
    with pytest.raises(UserError, match="no vote is left"):
        summary(files[2:], allowed=2)


def test_of_two_files_of_one_voter_the_fuller_counts_and_names_are_told_apart(tmp_path):
    cast = simulated(choose_pairs(list(STRENGTHS), 4, 0, 0, 0), "ada", 1)
    early, late = saved(tmp_path / "early.json", cast[:5]), saved(tmp_path / "late.json", cast)
    other = saved(tmp_path / "other.json", cast[:3], mark="another ada")
    found = read_votes([late, early, other])[1]
    assert [sum(one.voter == name for one in found) for name in ("ada", "ada (2)")] == [24, 3]


GOOD = [Vote("ada", 0, "lua", "swinir", "left")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "other"}, "is not a file of votes"),
        ({"size": 1024}, r"its size is 1024, that of .*good.json is 512"),
        ({"protocol": "0"}, "its protocol is '0'"),
        ({"votes": {}}, "lacks votes"),
        ({"votes": [{"prompt": 0}]}, "left of vote 1 is missing or wrong"),
        ({"votes": [vars(GOOD[0]) | {"choice": "both"}]}, "choice of vote 1"),
        ({"votes": [vars(GOOD[0]) | {"right": "lua"}]}, "right of vote 1"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        read_votes([saved(tmp_path / "good.json", GOOD), saved(tmp_path / "bad.json", GOOD, **changes)])
    (tmp_path / "torn.json").write_text('{"format": ')
    with pytest.raises(UserError, match=r"torn\.json cannot be read as JSON"):
        read_votes([tmp_path / "torn.json"])


def test_the_page_holds_its_images_without_names_and_no_text_can_break_out(tmp_path):
    run = finished(tmp_path, ["a lake </script><script>alert(1)</script><!--<script>", "a hill"])
    results = read_results(run)
    content = ballot(results, images_of(run, results), choose_pairs(["lua", "swinir"], 2, 0, 1, 0))
    text = page({**content, "generator": "</title><script>"})
    assert len(content["images"]) == 5
    assert content["pairs"][0]["shown"] == [0, 1]
    assert text.count("<script") == text.count("</script>") == 2
    assert json.loads(text.split('type="application/json">')[1].split("</script>")[0])["prompts"] == results["prompts"]


def test_a_spoiled_image_has_lost_its_detail():
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    assert spoiled(noise).shape == noise.shape
    assert len(np.unique(spoiled(noise).reshape(-1, 3), axis=0)) == 12


def test_the_commands_make_a_page_and_put_the_scores_into_the_report(tmp_path, capsys):
    run = finished(tmp_path / "run", ["a lake", "a hill"])
    assert run_command(vote.COMMAND, "lua-lightning vote", [str(run)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["pairs"] == 6 + 3
    assert (run / "vote.html").is_file()
    cast = [Vote("[red]ada", prompt, one, two, "left") for prompt in (0, 1)
           for one, two in (("lua", "swinir"), ("lua", "latent-bicubic"))]  # fmt: skip
    arguments = [str(saved(tmp_path / "ada.json", cast)), "--run", str(run)]
    for _ in range(2):  # the second time in place of the first
        assert run_command(votes.COMMAND, "lua-lightning votes", arguments) == 0
    captured = capsys.readouterr()
    assert "[red]ada" in captured.err
    found = json.loads(captured.out.splitlines()[-1])
    assert found["scores"]["lua"]["win_rate"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    rows = {(row["method"], row["track"]): row["metrics"] for row in read_results(run)["rows"]}
    assert rows["lua", "generation"]["preference"] == found["scores"]["lua"]["preference"]
    assert "preference" not in rows["lua", "reconstruction"]
    assert "Blind votes" in (run / "report.html").read_text()
    assert "| lua | 3 | 0.1234" in (run / "results.md").read_text()


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (vote, ["{run}", "--methods", "lau", "lua"], "did you mean 'lua'"),
        (vote, ["{run}", "--methods", "lua"], "needs two methods"),
        (vote, ["{run}", "--pairs", "-1"], "--pairs -1 must be at least 0"),
        (vote, ["nowhere"], "nowhere is not there"),
        (votes, ["nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, capsys, command, arguments, said):
    run = finished(tmp_path / "run", ["a lake"])
    assert run_command(command.COMMAND, "program", [item.format(run=run) for item in arguments]) == 2
    assert said in capsys.readouterr().err
