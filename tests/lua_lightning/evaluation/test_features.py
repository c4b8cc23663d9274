import numpy as np
import pytest
import torch
from PIL import Image

from lua_lightning.errors import UserError
from lua_lightning.evaluation import features as module
from lua_lightning.evaluation import registry
from lua_lightning.evaluation.features import (
    ClipScore,
    FeatureNetwork,
    ImageSet,
    effnet_lite0,
    extract,
    inception,
    random_crops,
)


@pytest.fixture
def means():
    """A network whose features are the mean colours."""
    return FeatureNetwork("means", 16, lambda images: images.mean((2, 3)), "0" * 64)


def test_a_users_images_are_read_as_everything_is_read(tmp_path):
    draw = np.random.default_rng(0)
    turned, pixels = Image.Exif(), draw.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    turned[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(np.full((20, 30), 120 * 257, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([pixels, np.zeros((20, 30), np.uint8)])).save(tmp_path / "clear.png")
    files = tuple(tmp_path / f"{name}.png" for name in ("turned", "deep", "clear"))
    first, deep, clear = ImageSet(files).images()
    np.testing.assert_array_equal(first, np.rot90(pixels, k=-1))
    assert (deep == 120).all()
    assert (clear == 255).all()


def test_features_are_extracted_once_and_again_when_anything_changes(files, means, tmp_path):
    cache = tmp_path / "cache"
    first = extract(means, ImageSet(files), cache)
    assert first.shape == (3, 3)
    calls = []
    counted = FeatureNetwork("means", 16, lambda images: calls.append(1) or images.mean((2, 3)), "0" * 64)
    assert (extract(counted, ImageSet(files), cache) == first).all()
    assert not calls
    extract(counted, ImageSet(files, crop=8), cache)
    extract(counted, ImageSet(files, crop=8, seed=1), cache)
    Image.fromarray(np.zeros((40, 50, 3), dtype=np.uint8)).save(files[0])
    changed = extract(counted, ImageSet(files), cache)
    assert len(calls) == 3
    assert (changed[1:] == first[1:]).all()
    assert (changed[0] == 0).all()


def test_images_go_through_a_network_in_batches(files):
    sizes = []
    network = FeatureNetwork("means", 16, lambda images: sizes.append(len(images)) or images.mean((2, 3)), "0" * 64)
    images = list(ImageSet(files).images())
    whole = network(images * 3, batch=4)
    assert sizes == [4, 4, 1]
    assert (whole[:3] == whole[6:]).all()


def test_a_file_is_hashed_once_and_again_when_it_changes(files, monkeypatch):
    hashed = []
    real = module.file_sha256
    monkeypatch.setattr(module, "file_sha256", lambda path: hashed.append(path.name) or real(path))
    first = [ImageSet(files, crop).sha256() for crop in (None, 8, None)]
    assert hashed == [path.name for path in files]
    assert first[0] == first[2] != first[1]
    Image.fromarray(np.zeros((7, 9, 3), dtype=np.uint8)).save(files[1])
    assert ImageSet(files).sha256() != first[0]
    assert hashed[3:] == [files[1].name]


def test_crops_are_native_pixels_drawn_by_seed(files):
    image = np.asarray(Image.open(files[0]))
    crops = random_crops(image, 8, 5, seed=3)
    windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8), axis=(0, 1))
    for crop in crops:
        assert (windows == crop.transpose(2, 0, 1)).all((2, 3, 4)).any()
    assert all((a == b).all() for a, b in zip(crops, random_crops(image, 8, 5, seed=3), strict=True))
    assert not (crops[0] == random_crops(image, 8, 5, seed=4)[0]).all()
    with pytest.raises(UserError, match="50x40 px has no crops of 64 px"):
        random_crops(image, 64, 1, 0)


def test_rows_know_their_image(files):
    assert ImageSet(files).groups.tolist() == [0, 1, 2]
    assert ImageSet(files, crop=8, crops_per_image=2).groups.tolist() == [0, 0, 1, 1, 2, 2]


def test_effnet_tells_images_apart(files):
    network = effnet_lite0()
    features = network(ImageSet(files).images())
    assert features.shape == (3, 320)
    flat = network([np.full((30, 30, 3), 128, dtype=np.uint8)])
    assert np.linalg.norm(features[0] - features[1]) < np.linalg.norm(features[0] - flat[0])


def test_a_local_inception_file_gives_clean_fids_features(tmp_path, files):
    """The real wrapper of clean-fid, on a scripted network of the real interface with random weights."""

    class Layers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 2048, 1)

        def forward(self, images):
            return self.conv(images[:, :, ::64, ::64]).mean((2, 3))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = Layers()

        def forward(self, images):
            return self.layers(images)

    torch.manual_seed(0)
    path = tmp_path / "inception-2015-12-05.pt"
    torch.jit.script(Network()).save(str(path))
    from cleanfid.features import InceptionV3W
    from cleanfid.resize import build_resizer

    network = inception(path)
    resized = torch.from_numpy(build_resizer("clean")(np.asarray(Image.open(files[0])))).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = InceptionV3W(str(tmp_path), download=False)(resized)
    assert np.allclose(network(ImageSet(files[:1]).images()), expected.numpy(), atol=1e-5)


def test_missing_weights_are_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "INCEPTION_FOLDER", tmp_path)
    with pytest.raises(UserError, match="make inception"):
        inception()
    with pytest.raises(UserError, match="make clip"):
        ClipScore()
    with pytest.raises(UserError, match=r"nowhere\.pt are not there"):
        ClipScore(tmp_path / "nowhere.pt")


def test_clip_scores_are_open_clips_cosines(tmp_path, files):
    import open_clip

    torch.manual_seed(0)
    network, _, prepare = open_clip.create_model_and_transforms("RN50", force_quick_gelu=True)
    torch.save(network.state_dict(), tmp_path / "clip.pt")
    scores = ClipScore(tmp_path / "clip.pt", "RN50")(files[:2], ["a lake", "a hill"])
    network.eval()
    with torch.no_grad():
        images = network.encode_image(torch.stack([prepare(Image.open(path)) for path in files[:2]]))
        texts = network.encode_text(open_clip.get_tokenizer("RN50")(["a lake", "a hill"]))
    expected = torch.nn.functional.cosine_similarity(images, texts)
    assert np.allclose(scores, expected.numpy(), atol=1e-5)
