import dataclasses

import pytest
import torch

from lua_lightning import upscale_image
from lua_lightning.cli import main
from lua_lightning.errors import UserError
from lua_lightning.files import write_tensors
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.pretrained import WEIGHTS_NAME, read_weights
from lua_lightning.models.sharpness import CRISP_NAME, between
from lua_lightning.pipeline import load_pair

CONFIG = AdapterConfig(channels=4, embed_dim=12, depths=(1,), num_heads=2, head_dim=4, codec="tiny-d4")


def adapter(seed, config=CONFIG):
    torch.manual_seed(seed)
    model = LatentUpscaler(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.fixture
def both(tmp_path):
    """A folder of two sets of weights, made by the command from two adapters."""
    faithful, crisp = (tmp_path / name for name in ("faithful", "crisp"))
    adapter(0).save_pretrained(faithful)
    adapter(1).save_pretrained(crisp)
    (crisp / "README.md").write_text("a card\n")
    assert main(["crisp", str(faithful), str(crisp), "--out", str(tmp_path / "both")]) == 0
    return tmp_path / "both"


def test_the_ends_are_the_two_adapters_and_the_middle_is_between_them(both):
    states = {at: LatentUpscaler.from_pretrained(both, sharpness=at).state_dict() for at in (0, 0.25, 1)}
    faithful, crisp = adapter(0).state_dict(), adapter(1).state_dict()
    for name, weight in states[0.25].items():
        assert torch.equal(states[0][name], faithful[name])
        assert torch.equal(states[1][name], crisp[name])
        torch.testing.assert_close(weight.float(), 0.75 * faithful[name].float() + 0.25 * crisp[name].float())
    assert (both / "README.md").read_text() == "a card\n"


def test_images_change_with_the_sharpness(both):
    image = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0)).numpy()
    enlarged = [torch.tensor(list(upscale_image(image, adapter=both, device="cpu", sharpness=at).getdata()))
                for at in (0.0, 0.5, 1.0)]  # fmt: skip
    assert not torch.equal(enlarged[0], enlarged[1])
    assert not torch.equal(enlarged[1], enlarged[2])


@pytest.mark.parametrize("sharpness", [-0.1, 1.1, float("nan")])
def test_a_sharpness_outside_its_range_is_refused(both, sharpness):
    with pytest.raises(UserError, match="must lie between 0"):
        LatentUpscaler.from_pretrained(both, sharpness=sharpness)


def test_what_has_one_set_of_weights_says_so(both, tmp_path):
    with pytest.raises(UserError, match="has one sharpness only"):
        LatentUpscaler.from_pretrained("lua-tiny-d4", sharpness=0.5)
    with pytest.raises(UserError, match="is loaded already"):
        load_pair(adapter(0), "tiny-d4", sharpness=0.5)
    write_tensors(both / CRISP_NAME, {"other": torch.zeros(1)})
    with pytest.raises(UserError, match="of another network"):
        LatentUpscaler.from_pretrained(both, sharpness=0.5)
    torch.save({}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="one set of weights"):
        LatentUpscaler.from_pretrained(tmp_path / "bare.pth", sharpness=0.5)


def test_adapters_of_different_networks_are_not_joined(tmp_path, capsys):
    adapter(0).save_pretrained(tmp_path / "a")
    for name, config in (("wider", {"head_dim": 8}), ("other", {"codec": "tiny-d16"})):
        adapter(1, dataclasses.replace(CONFIG, **config)).save_pretrained(tmp_path / name)
        assert main(["crisp", str(tmp_path / "a"), str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert "another network" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert main(["crisp", str(tmp_path / "a"), str(tmp_path / "a"), "--out", str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_half_precision_weights_are_mixed_in_float32():
    one, other = {"a": torch.tensor([1.0]).half()}, {"a": torch.tensor([2.0]).half()}
    assert between(one, other, 0.3)["a"] == torch.tensor([1.3]).half()


def test_half_precision_files_are_half_as_large_and_loaded_as_float32(tmp_path):
    for index, name in enumerate(("a", "b")):
        adapter(index).save_pretrained(tmp_path / name)
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    for dtype in ("float32", "float16"):
        assert main(["crisp", *names, "--out", str(tmp_path / dtype), "--dtype", dtype]) == 0
    for name in (WEIGHTS_NAME, CRISP_NAME):
        sizes = [
            sum(t.nbytes for t in read_weights(tmp_path / dtype / name).values()) for dtype in ("float32", "float16")
        ]
        assert sizes[0] == 2 * sizes[1]
    for sharpness in (0.0, 1.0):
        ours, whole = (
            LatentUpscaler.from_pretrained(tmp_path / d, sharpness=sharpness) for d in ("float16", "float32")
        )
        assert ours.dtype == torch.float32
        for name, weight in ours.state_dict().items():
            torch.testing.assert_close(weight, whole.state_dict()[name], atol=1e-4, rtol=1e-3)
