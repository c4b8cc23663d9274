from pathlib import Path

import pytest

from lua_lightning.config import RunConfig, load_config
from lua_lightning.training.cards import kind_of


@pytest.mark.parametrize(
    ("experiment", "says"),
    [
        ("stage1", ("latent upscaler adapter", "`tiny-d64`")),
        ("zoo/lsr-tiny-d16", ("LIIF", "2503.18446", "`tiny-d16`")),
        ("zoo/swinir-tiny", ("in pixels", "2108.10257", "`tiny-d16` decodes")),
    ],
)
def test_a_card_says_what_the_network_is(experiment, says):
    kind = kind_of(load_config(RunConfig, Path(f"experiments/{experiment}.yaml")))
    assert [fact for fact in says if fact not in kind] == []
