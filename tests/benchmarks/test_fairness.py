"""The facts of the audit, as sentences and as checks that can fail."""

from dataclasses import replace

from benchmarks.fairness import _same_starts, told
from tests.benchmarks.test_store import RECORD

FACTS = {
    "start": {"base_size": 256, "same_prompts_and_seeds": False, "from_the_same_latents": ["lua"],
              "sample_anew": ["direct"]},
    "precision": {"adapter": "bfloat16"},
    "threads": [1, "not recorded"],
    "devices": ["CPU"],
    "steps": 10,
    "warm_ups": {"lua": [1], "direct": [0]},
    "seconds": {"include": {"lua": ["generate", "decode"]}, "sampled_once_for_all": {"lua": ["generate"]},
                "leave_out": ["warm-ups"]},
    "images": {"reconstruction": {"lua": 4}, "generation": {"lua": 2}},
    "near_duplicates": {"train": 3, "judged": 2, "threshold": 10, "near": 1, "closest": 4,
                        "pairs": [{"train": "a.png", "judged": "b.png", "bits": 4}]},
}  # fmt: skip


def test_the_facts_are_told_in_words():
    facts = dict(told(FACTS))
    assert facts["start"] == "the same latents of 256 px: lua; sampled anew from the prompt: direct"
    assert facts["prompts and seeds"] == "not equal"
    assert facts["threads"] == "1, not recorded"
    assert facts["warm-ups"] == "lua 1, direct 0"
    assert facts["seconds include"] == "lua: generate + decode"
    assert facts["timed once for several"] == "lua (generate)"
    assert facts["near-duplicates"].endswith("the closest by 4: a.png and b.png (4 bits)")
    assert told({}) == []


def test_another_seed_of_one_method_is_noticed():
    ours = [RECORD, replace(RECORD, index=4, seed=46)]
    theirs = [replace(record, method="swinir") for record in ours]
    assert _same_starts({"lua": ours, "swinir": theirs})
    assert not _same_starts({"lua": ours, "swinir": [theirs[0], replace(theirs[1], seed=47)]})
    assert not _same_starts({"lua": ours, "swinir": theirs[:1]})
