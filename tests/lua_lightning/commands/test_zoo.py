"""`lua-lightning zoo`: what a finished run or chain has trained goes into the zoo."""

import torch

from lua_lightning import LatentUpscaler
from lua_lightning.cli import main
from lua_lightning.config import RunConfig, to_yaml
from lua_lightning.files import write_json, write_text
from lua_lightning.models.adapter import AdapterConfig
from lua_lightning.models.pretrained import read_weights
from lua_lightning.training.chain import STAGES
from lua_lightning.training.runs import CONFIG, RESULTS


def finished_chain(folder, *stages):
    """A chain called `mine` with an adapter for each stage, whose first bias is the stage's number."""
    begun = {}
    network = LatentUpscaler(AdapterConfig(channels=4, embed_dim=12, depths=(1,), num_heads=2, head_dim=4))
    for number, stage in enumerate(stages):
        run = folder / stage
        torch.nn.init.constant_(network.conv_first.bias, number)
        network.save_pretrained(run / "adapter")
        write_text(run / "adapter/README.md", f"# {stage}\n")
        write_text(run / CONFIG, to_yaml(RunConfig(name="mine", stage=stage)))
        begun[f"{number + 1}-mine"] = str(run)
    write_text(folder / CONFIG, to_yaml(RunConfig(name="mine")))
    write_json(folder / STAGES, begun)
    return folder


def test_the_last_stage_goes_into_the_zoo_in_half_precision(tmp_path):
    chain = finished_chain(tmp_path / "chain", "stage1", "stage3")
    arguments = [str(chain), "--zoo", str(tmp_path / "zoo")]
    assert main(["zoo", *arguments]) == 2  # not finished
    write_json(chain / RESULTS, {})
    for _ in range(2):  # made again, it is replaced
        assert main(["zoo", *arguments]) == 0
    assert {tensor.dtype for tensor in read_weights(tmp_path / "zoo/mine").values()} == {torch.float16}
    assert float(LatentUpscaler.from_pretrained(tmp_path / "zoo/mine").conv_first.bias[0]) == 1
    assert (tmp_path / "zoo/mine/README.md").read_text() == "# stage3\n"


def test_a_last_stage_four_is_the_crisp_end(tmp_path):
    chain = finished_chain(tmp_path / "chain", "stage1", "stage3", "stage4")
    write_json(chain / RESULTS, {})
    assert main(["zoo", str(chain), "--zoo", str(tmp_path / "zoo")]) == 0
    for sharpness, first in ((0, 1), (0.5, 1.5), (1, 2)):
        adapter = LatentUpscaler.from_pretrained(tmp_path / "zoo/mine", sharpness=sharpness)
        assert float(adapter.conv_first.bias[0]) == first
    assert (tmp_path / "zoo/mine/README.md").read_text() == "# stage4\n"


def test_a_run_is_as_good_as_a_chain(tmp_path):
    run = finished_chain(tmp_path / "chain", "lsr") / "lsr"
    write_json(run / RESULTS, {})
    assert main(["zoo", str(run), "--zoo", str(tmp_path / "zoo")]) == 0
    assert LatentUpscaler.from_pretrained(tmp_path / "zoo/mine").config.channels == 4
