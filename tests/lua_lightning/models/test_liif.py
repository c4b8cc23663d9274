import pytest
import torch
import torch.nn.functional as F

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.liif import LiifHead
from lua_lightning.models.network import enlarge


def asked_point_by_point(head, features, height, width):
    """The paper's description spelled out: for every point four features, each with its 3x3 neighbourhood."""
    batch, channels, rows, columns = features.shape
    unfolded = F.unfold(features, 3, padding=1).view(batch, channels * 9, rows, columns)
    first = head.unfolded.weight.flatten(1)
    out = torch.zeros(batch, head.conv_last.out_channels, height, width)
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * rows / height - 0.5, (j + 0.5) * columns / width - 0.5
            total = 0.0
            for k in (int(y // 1), int(y // 1) + 1):
                for m in (int(x // 1), int(x // 1) + 1):
                    feature = unfolded[:, :, min(max(k, 0), rows - 1), min(max(m, 0), columns - 1)]
                    place = torch.tensor([2 * (y - k), 2 * (x - m), 2 * rows / height, 2 * columns / width])
                    hidden = feature @ first.T + head.unfolded.bias + head.position.weight @ place
                    answer = head.conv_last(head.hidden(hidden[..., None, None]))[..., 0, 0]
                    total = total + answer * (1 - abs(y - k)) * (1 - abs(x - m))
            out[:, :, i, j] = total
    return out


@pytest.mark.parametrize("size", [(6, 8), (9, 12), (7, 5), (3, 4)])
def test_the_head_is_the_papers_formula(size):
    torch.manual_seed(0)
    head, features = LiifHead(5, 8, 2), torch.randn(2, 5, 3, 4)
    with torch.no_grad():
        assert torch.allclose(head(features, *size), asked_point_by_point(head, features, *size), atol=1e-5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LatentUpscaler(AdapterConfig.sized("tiny", channels=4, head="liif", head_dim=8)).eval()


@pytest.mark.parametrize("scale", [2, 3, 2.5, 4])
def test_it_takes_any_scale_and_starts_as_bicubic(model, scale):
    latents = torch.randn(1, 4, 10, 12)
    with torch.no_grad():
        assert model(latents, scale).equal(enlarge(latents, scale))
        torch.nn.init.normal_(model.heads["liif"].conv_last.weight)
        assert model(latents, scale).shape == (1, 4, round(10 * scale), round(12 * scale))


def test_it_is_saved_and_loaded(model, tmp_path):
    torch.nn.init.normal_(model.heads["liif"].conv_last.weight)
    model.save_pretrained(tmp_path)
    latents = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        assert LatentUpscaler.from_pretrained(tmp_path)(latents, 3).equal(model(latents, 3))


def test_the_published_size_is_lsrnas():
    model = LatentUpscaler(AdapterConfig.sized("lsr", channels=4))
    assert len(model.layers) == 4
    assert model.heads["liif"].unfolded.out_channels == 256
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in model.heads["liif"].hidden) == 3


def test_an_unknown_head_is_refused():
    with pytest.raises(UserError, match="did you mean 'liif'"):
        AdapterConfig(head="lif")
