import pytest
import torch
from torch.utils.data import DataLoader

from lua_lightning.evaluation.fidelity import mean_psnr
from lua_lightning.evaluation.scoring import evaluate, reference
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.pairs.dataset import PairDataset


@pytest.fixture
def batches(cache):
    return DataLoader(PairDataset(cache, "val"), batch_size=3)


@pytest.fixture
def untrained():
    return LatentUpscaler(AdapterConfig(channels=4, embed_dim=8, depths=(1,), num_heads=1, window_size=4, head_dim=8))


def test_an_untrained_adapter_recovers_nothing(untrained, codec, batches):
    scores = evaluate(untrained.eval(), codec, batches, (2, 4))
    for scale in ("x2", "x4"):
        assert scores[f"{scale}/psnr"] == pytest.approx(scores[f"{scale}/psnr_bicubic"], abs=1e-4)
        assert scores[f"{scale}/latent_l1"] == pytest.approx(scores[f"{scale}/latent_l1_bicubic"], abs=1e-6)
        assert scores[f"{scale}/recovery"] == pytest.approx(0, abs=1e-4)


def test_an_adapter_that_knows_the_answer_recovers_everything(codec, batches):
    batch = next(iter(batches))

    class Oracle(LatentUpscaler):
        def forward(self, latents, scale):
            return batch["hr"]

    oracle = Oracle(AdapterConfig(channels=4, embed_dim=8, depths=(1,), num_heads=1))
    scores = evaluate(oracle, codec, [batch], (2,))
    assert scores["x2/recovery"] == pytest.approx(1)
    assert scores["x2/latent_l1"] == 0


def test_the_rivals_start_where_they_should(codec, batches):
    batch = next(iter(batches))
    known = reference(codec, batch, 2)
    assert known.scores["psnr_ceiling"].mean().item() == pytest.approx(
        mean_psnr(codec.decode(batch["hr"]), batch["image"]), abs=1e-5
    )
    # pixel bicubic starts from the decoded LR latents, so a codec that loses everything leaves it nothing
    emptied = {**batch, "lr_x2": torch.zeros_like(batch["lr_x2"])}
    assert reference(codec, emptied, 2).scores["psnr_pixel_bicubic"].mean() < known.scores["psnr_pixel_bicubic"].mean()
    assert torch.equal(reference(codec, emptied, 2).scores["psnr_photo_bicubic"], known.scores["psnr_photo_bicubic"])


def test_only_keeps_scores_and_drops_images(codec, batches):
    known = reference(codec, next(iter(batches)), 2)
    few = known.only([1])
    assert few.scores is known.scores
    assert all(torch.equal(few.images[name], known.images[name][[1]]) for name in known.images)
