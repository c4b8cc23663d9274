"""Our SwinIR against spandrel's, loaded from the same file: values, gradients, speed and memory."""

import multiprocessing
import statistics
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from spandrel import ModelLoader
from spandrel.architectures.SwinIR import SwinIR as SpandrelSwinIR
from torch import Tensor, nn

from lua_lightning.errors import UserError
from lua_lightning.models.network import pad_to_window
from lua_lightning.models.swin import SwinIR
from lua_lightning.models.windows import Windows

CONFIGS = {
    "classical": {"embed_dim": 48, "depths": [2, 2], "num_heads": [4, 2], "upscale": 2, "upsampler": "pixelshuffle"},
    "light": {"embed_dim": 60, "depths": [3, 2], "num_heads": [6, 6], "upscale": 4, "upsampler": "pixelshuffledirect"},
    "three": {"embed_dim": 24, "depths": [2], "num_heads": [3], "upscale": 3, "upsampler": "pixelshuffle"},
    "denoise": {"embed_dim": 36, "depths": [2, 1], "num_heads": [3, 6], "upscale": 1, "upsampler": ""},
    "large": {"embed_dim": 32, "depths": [2], "num_heads": [4], "upscale": 2, "upsampler": "pixelshuffle"},
}
LIGHT = {"embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4, "upscale": 2, "upsampler": "pixelshuffledirect"}


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter, norms and bias tables too, values that would show in the output if they were mixed up."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.5 if name.endswith("relative_position_bias_table") else 0.05
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return model


def official_file(folder: Path, config: dict, seed: int = 0, **settings: object) -> Path:
    """Write random weights laid out as the authors of SwinIR publish theirs, buffers included."""
    settings = {"window_size": 8, "mlp_ratio": 2.0, "img_size": 64, **config, **settings}
    weights = randomised(SpandrelSwinIR(**settings), seed).state_dict()
    path = folder / "official.pth"
    torch.save({"params": weights}, path)
    return path


def spandrel_model(path: Path) -> nn.Module:
    return ModelLoader().load_from_file(path).model.eval()


@pytest.mark.parametrize("size", [(37, 50), (16, 24), (9, 23)])
@pytest.mark.parametrize("name", CONFIGS)
def test_official_weights_give_what_spandrel_computes(tmp_path, name, size):
    settings = {"resi_connection": "3conv"} if name == "large" else {}
    path = official_file(tmp_path, CONFIGS[name], **settings)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = spandrel_model(path)(images)
        restored = SwinIR.from_pretrained(path)(images)
    assert expected.std() > 0.1
    assert restored.shape == (2, 3, size[0] * CONFIGS[name]["upscale"], size[1] * CONFIGS[name]["upscale"])
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=1e-5)


def test_jpeg_weights_with_windows_of_seven_work_on_0_to_255(tmp_path):
    path = official_file(tmp_path, CONFIGS["denoise"], window_size=7, img_size=126)
    images = torch.rand(1, 3, 20, 33, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        model = SwinIR.from_pretrained(path)
        torch.testing.assert_close(model(images), spandrel_model(path)(images), atol=1e-5, rtol=1e-5)
    assert model.img_range == 255


def test_gradients_equal_spandrels(tmp_path):
    path = official_file(tmp_path, CONFIGS["light"])
    images = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    theirs, ours = spandrel_model(path), SwinIR.from_pretrained(path)
    for model in (theirs, ours):
        model.requires_grad_(True)
        model(images).square().mean().backward()
    for name, parameter in theirs.named_parameters():
        gradient = ours.get_parameter(name).grad
        torch.testing.assert_close(
            gradient, parameter.grad, atol=1e-6, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_checkpointing_leaves_the_gradients_unchanged(tmp_path):
    images = torch.rand(1, 3, 16, 16)
    model = SwinIR.from_pretrained(official_file(tmp_path, CONFIGS["classical"])).train()
    gradients = []
    for model.gradient_checkpointing in (False, True):
        model.zero_grad()
        model(images).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(plain, kept) for plain, kept in zip(*gradients, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 5)])
def test_images_smaller_than_the_window_are_restored(tmp_path, size):
    model = SwinIR.from_pretrained(official_file(tmp_path, CONFIGS["light"]))
    with torch.inference_mode():
        restored = model(torch.rand(1, 3, *size))
    assert restored.shape == (1, 3, 4 * size[0], 4 * size[1])
    assert restored.isfinite().all()


def test_padding_reflects_and_goes_on_reflecting():
    images = torch.rand(1, 2, 13, 6)
    torch.testing.assert_close(pad_to_window(images, 8), F.pad(images, (0, 2, 0, 3), mode="reflect"), atol=0, rtol=0)
    line = torch.arange(3.0).view(1, 1, 3, 1).expand(1, 1, 3, 8)
    assert pad_to_window(line, 8)[0, 0, :, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert pad_to_window(torch.ones(1, 1, 1, 1), 8).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_cut_visits_every_token_once(in_parts):
    for shift in (0, 4):
        cut = Windows(2, 3, 2, 8, torch.device("cpu"), in_parts).cut(shift)
        assert sorted(cut.gather.tolist()) == list(range(2 * 24 * 16))
        assert cut.groups[-1].stop == 2 * 3 * 2


def test_bfloat16_stays_near_float32(tmp_path):
    model = SwinIR.from_pretrained(official_file(tmp_path, CONFIGS["light"])).train()
    images = torch.rand(1, 3, 20, 16)
    exact = model(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(images)
        mixed.float().square().mean().backward()
    with torch.inference_mode():
        pure = model.bfloat16()(images.bfloat16())
    assert pure.dtype == torch.bfloat16
    for restored in (mixed, pure):
        error = (restored.float() - exact).square().mean().sqrt()
        assert error < 0.05 * exact.std()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda weights: weights.update(extra=torch.zeros(1)), "1 unexpected .such as extra"),
        (lambda weights: weights.pop("norm.weight"), "1 missing .such as norm.weight"),
        (lambda weights: weights.update({"conv_up1.weight": torch.zeros(1)}), "nearest.conv"),
        (lambda weights: weights.pop("conv_first.weight"), "does not hold SwinIR weights"),
        (lambda weights: weights.update({"norm.weight": torch.zeros(7)}), "1 of another shape .such as norm.weight"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, complaint):
    path = official_file(tmp_path, CONFIGS["light"])
    weights = torch.load(path, weights_only=True)["params"]
    change(weights)
    torch.save(weights, path)
    with pytest.raises(UserError, match=complaint):
        SwinIR.from_pretrained(path)


def seconds(model: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    model(images)
    return time.perf_counter() - start


@pytest.mark.slow
def test_takes_half_of_spandrels_time_at_most(tmp_path):
    path = official_file(tmp_path, LIGHT)
    ours, theirs = SwinIR.from_pretrained(path), spandrel_model(path)
    images = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=1e-4)
        pairs = [(seconds(ours, images), seconds(theirs, images)) for _ in range(9)]
    ratio = statistics.median(our for our, _ in pairs) / statistics.median(their for _, their in pairs)
    print(f"time over spandrel's: {ratio:.2f}")
    assert ratio <= 0.5


def peak_growth(load: str, path: Path, out: multiprocessing.Queue) -> None:
    """Put how much one forward pass raises this process's peak memory, in KiB."""
    model = SwinIR.from_pretrained(path) if load == "ours" else spandrel_model(path)

    def status(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    with torch.inference_mode():
        model(torch.rand(1, 3, 16, 16))
        before = status("VmRSS")
        model(torch.rand(1, 3, 128, 128))
    out.put(status("VmHWM") - before)


@pytest.mark.slow
def test_needs_less_memory_than_spandrels(tmp_path):
    path = official_file(tmp_path, LIGHT)
    context = multiprocessing.get_context("spawn")
    grown = {}
    for load in ("ours", "theirs"):
        out = context.Queue()
        process = context.Process(target=peak_growth, args=(load, path, out))
        process.start()
        grown[load] = out.get(timeout=300)
        process.join()
    print(f"peak memory of one pass, MiB: { ({name: value // 1024 for name, value in grown.items()}) }")
    assert grown["ours"] < grown["theirs"]
