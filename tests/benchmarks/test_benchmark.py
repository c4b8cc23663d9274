"""A benchmark is resolved before any work: what is wrong is told at once, and the protocol alone chooses the crops."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import benchmark as module
from benchmarks.benchmark import Benchmark, folder_of, resolve
from benchmarks.config import BenchConfig, profile_of
from lua_lightning.config import CacheConfig
from lua_lightning.errors import UserError
from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pairs.plan import Crop, plan_crops
from tests.conftest import write_photo_set


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A photo set whose test photographs have room for several crops."""
    return write_photo_set(tmp_path_factory.mktemp("large") / "photos", ["train", "val", "test", "test"], size=1280)


@pytest.fixture
def config(photos, tmp_path):
    return BenchConfig(photos=str(photos), out=str(tmp_path / "runs"))


# Of the photographs 2 and 3 of that set, as every protocol has drawn them.
CROPS = [Crop(2, 456, 632, 0), Crop(2, 424, 24, 0), Crop(3, 416, 672, 0), Crop(3, 536, 120, 0)]


def test_the_crops_of_the_protocol_are_where_they_always_were(config, photos):
    assert resolve(config).crops() == CROPS
    before = CacheConfig(crop_px=512, held_out_crops_per_photo=2, seed=0)
    assert list(plan_crops(PhotoSet.load(photos), "test", before)) == CROPS


def test_the_crops_do_not_depend_on_the_training_cache(config, photos, monkeypatch):
    monkeypatch.setattr(CacheConfig.__init__, "__defaults__", (*CacheConfig.__init__.__defaults__[:-1], 7))
    assert CacheConfig().seed == 7
    other = CacheConfig(crop_px=512, held_out_crops_per_photo=2)
    assert list(plan_crops(PhotoSet.load(photos), "test", other)) != CROPS
    assert resolve(config).crops() == CROPS


def test_a_resolved_benchmark_knows_everything_and_stays_as_it_is(config):
    benchmark = resolve(config)
    assert (benchmark.size, benchmark.base_size, benchmark.scale, benchmark.steps) == (512, 256, 2, 10)
    assert len(benchmark.prompts) == 2
    assert set(benchmark.marks) == set(config.methods)
    assert benchmark.folder.is_dir()
    assert config.prompts == 0  # what the user gave is not changed
    with pytest.raises(dataclasses.FrozenInstanceError):
        benchmark.base_size = 1


def test_processes_share_whole_prompts(config):
    benchmark = resolve(dataclasses.replace(config, prompts=3, methods=("lua", "direct")))
    shares = [benchmark.jobs(rank, 2) for rank in range(2)]
    assert [[(job.index, job.method) for job in share] for share in shares] == [
        [(0, "lua"), (0, "direct"), (2, "lua"), (2, "direct")],
        [(1, "lua"), (1, "direct")],
    ]
    assert [job.seed for job in benchmark.jobs() if job.method == "lua"] == [42, 43, 44]


def test_old_folders_are_found_again():
    """The name is a contract: a benchmark that was killed goes on where an earlier version of the code left it."""
    whole = BenchConfig(prompts=2, steps=10, crops_per_photo=2)
    assert folder_of(whole).name == "512-tiny-sdxl-ea3355ec"
    fewer = tuple(name for name in whole.methods if name != "roundtrip")
    assert folder_of(dataclasses.replace(whole, methods=fewer)) != folder_of(whole)


def test_other_settings_are_another_folder():
    one = BenchConfig()
    assert folder_of(one) == folder_of(dataclasses.replace(one, experiment="other"))
    assert folder_of(one) != folder_of(dataclasses.replace(one, seed=1))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"methods": ("lau",)}, "did you mean 'lua'"),
        ({"methods": ()}, r"methods=\[\] must name at least 1"),
        ({"methods": ("lua", "lua")}, "each of them once"),
        ({"settings": {"swinri": []}}, "did you mean 'swinir'"),
        ({"settings": {"swinir": ["weight=x"]}}, "weights"),
        ({"settings": {"swinir": ["weights=nowhere"]}}, "nowhere is neither a local folder"),
        ({"adapter": "lua-tiny"}, "lua-tiny is neither a local folder"),
        ({"generator": "tiny-sdxk"}, "did you mean 'tiny-sdxl'"),
        ({"size": 700}, "512, 1024, 2048, 4096"),
        ({"prompts": 10_000}, "10000 are asked for"),
        ({"prompts_file": "nowhere.txt"}, "prompts_file=nowhere.txt must be a file or a folder that is there"),
        ({"offload": "modle"}, "offload=modle"),
        ({"steps": -1}, "steps=-1"),
        ({"devices": 0}, "devices=0"),
        ({"folders": {"lua": "x"}}, "needs another name"),
        ({"folders": {"ceiling": "x"}}, "needs another name"),
        ({"folders": {"mine": "nowhere"}}, "nowhere holds no images"),
        ({"inception": "nowhere.pt"}, "inception=nowhere.pt must be a file that is there"),
        ({"clip": "nowhere.pt"}, "clip=nowhere.pt must be a file that is there"),
        ({"photos": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(config, changes, match, monkeypatch):
    monkeypatch.setattr(Benchmark, "world", lambda *_: pytest.fail("work began"))
    with pytest.raises(UserError, match=match) as caught:
        resolve(dataclasses.replace(config, **changes))
    assert len(str(caught.value).splitlines()) == 1
    assert not Path(config.out).exists()


def test_photographs_that_are_too_small_are_refused(config, tmp_path):
    small = write_photo_set(tmp_path / "small", ["train", "val", "test"], size=320)
    with pytest.raises(UserError, match="no test photograph of 512 px or more"):
        resolve(dataclasses.replace(config, photos=str(small)))


def test_patches_have_the_published_size_where_the_generator_has(config):
    benchmark = resolve(config)
    assert benchmark.patch == 256
    for name in ("sdxl", "sd3", "flux", "flux2"):
        assert dataclasses.replace(benchmark, facts=GENERATORS[name]).patch == 1024


def test_prompts_of_ones_own_file_are_used(config, tmp_path):
    (tmp_path / "mine.txt").write_text("a red house\na blue house\na green house\n")
    mine = dataclasses.replace(config, prompts_file=str(tmp_path / "mine.txt"))
    assert resolve(mine).prompts == ("a red house", "a blue house")  # as many as the profile says
    assert len(resolve(dataclasses.replace(mine, prompts=3)).prompts) == 3
    assert resolve(mine).folder != resolve(config).folder


def test_images_made_elsewhere_are_looked_at_first(config, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    mine = dataclasses.replace(config, folders={"mine": str(folder)})
    Image.new("RGB", (300, 300)).save(folder / "a.png")
    assert resolve(mine).brought == {"mine": (folder / "a.png",)}
    Image.new("RGB", (300, 200)).save(folder / "b.png")
    with pytest.raises(UserError, match=r"b\.png has a side of 200 px"):
        resolve(mine)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"b\.png cannot be decoded.*take it out"):
        resolve(mine)


def test_a_folder_that_cannot_be_written_is_refused(config, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\): name another with out=FOLDER"):
        resolve(dataclasses.replace(config, out=str(tmp_path / "file")))

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        resolve(config)


def test_real_models_run_the_published_steps():
    profile = profile_of(GENERATORS["sdxl"], 1024)
    assert (profile.prompts, profile.steps) == (1000, None)
