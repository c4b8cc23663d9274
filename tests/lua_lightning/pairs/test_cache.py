import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lua_lightning.cli import main
from lua_lightning.errors import UserError
from lua_lightning.images import downscale, read_image, to_tensor
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs import cache as pairs
from lua_lightning.pairs import dataset as pairs_dataset
from lua_lightning.pairs.cache import build_cache, build_part
from lua_lightning.pairs.crops import dihedral
from lua_lightning.pairs.dataset import HeldOutSampler, PairDataset, StreamSampler
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pairs.plan import plan_crops


@pytest.fixture
def photos(photo_folder):
    return PhotoSet.load(photo_folder)


@pytest.fixture
def cache_settings(cache_config, tmp_path):
    """The shared settings in a folder of this test's own."""
    return dataclasses.replace(cache_config, folder=str(tmp_path))


@pytest.fixture
def writes(monkeypatch):
    """Names of the shards written while the test runs."""
    names = []
    write = pairs._write_shard
    monkeypatch.setattr(
        pairs, "_write_shard", lambda build, name, *rest: names.append(name) or write(build, name, *rest)
    )
    return names


def contents(cache):
    return {shard["file"]: shard["sha256"] for shard in cache.manifest["shards"]}


def test_pairs_are_one_region_at_three_sizes(cache, photos, codec):
    dataset = PairDataset(cache, "val")
    shard = load_file(cache.folder / cache.shards("val")[0]["file"])
    for n in range(len(dataset)):
        photo, top, left, symmetry = shard["crop"][n].tolist()
        image = to_tensor(read_image(photos.path(photos.photos[photo])))[..., top : top + 64, left : left + 64]
        image = dihedral(image, symmetry)
        item = dataset[n]
        torch.testing.assert_close(item["image"][None], image, atol=1e-6, rtol=0)
        torch.testing.assert_close(item["hr"][None], codec.encode(image))
        torch.testing.assert_close(item["lr_x2"][None], codec.encode(downscale(image, 2)))
        torch.testing.assert_close(item["lr_x4"][None], codec.encode(downscale(image, 4)))
        assert item["photo"] == photo


def test_no_photograph_is_on_both_sides(cache, photos):
    seen = {}
    for split in ("train", "val"):
        shards = [load_file(cache.folder / shard["file"]) for shard in cache.shards(split)]
        seen[split] = {int(photo) for shard in shards for photo in shard["crop"][:, 0]}
        assert {photos.photos[index].split for index in seen[split]} == {split}
    assert all(seen.values())


def test_the_manifest_says_what_made_it(cache, codec, photos):
    manifest = cache.manifest
    assert manifest["codec"]["sha256"] == codec.sha256()
    assert manifest["photos_sha256"] == photos.sha256
    assert manifest["settings"]["crop_px"] == 64
    latents = torch.cat([load_file(cache.folder / shard["file"])["hr"] for shard in cache.shards("train")])
    flat = latents.double().transpose(0, 1).flatten(1)
    expected = {"mean": flat.mean(1), "std": flat.std(1, correction=0), "min": flat.amin(1), "max": flat.amax(1)}
    for name, values in expected.items():
        torch.testing.assert_close(torch.tensor(manifest["statistics"][name]).double(), values, atol=1e-5, rtol=1e-5)


def test_a_second_build_encodes_nothing(cache_settings, photos, codec, writes):
    first = build_cache(cache_settings, photos, codec)
    assert (
        len(writes) == len(first.manifest["shards"]) == 5
    )  # 12 training pairs by 5, and one shard each to validate and to test
    writes.clear()
    assert contents(build_cache(cache_settings, photos, codec)) == contents(first)
    assert writes == []


def test_a_killed_build_goes_on(cache_settings, photos, codec, monkeypatch, writes):
    whole = contents(build_cache(cache_settings, photos, codec))
    shutil.rmtree(cache_settings.folder)
    writes.clear()
    write = pairs._write_shard

    def dies_at_the_third(build, name, *rest):
        if len(writes) == 2:
            (build.folder / name).with_suffix(".tmp1").write_bytes(b"half a shard")
            raise KeyboardInterrupt
        return write(build, name, *rest)

    monkeypatch.setattr(pairs, "_write_shard", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build_cache(cache_settings, photos, codec)
    monkeypatch.setattr(pairs, "_write_shard", write)
    writes.clear()
    assert contents(build_cache(cache_settings, photos, codec)) == whole
    assert len(writes) == 3


def test_two_processes_encode_what_one_does(
    cache_settings, photos, codec, photo_folder, codec_folder, tmp_path, writes
):
    whole = contents(build_cache(cache_settings, photos, codec))
    writes.clear()
    together = dataclasses.replace(cache_settings, folder=str(tmp_path / "together"), codec=str(codec_folder))
    settings = [f"cache.{name}={value}" for name, value in dataclasses.asdict(together).items() if value is not None]
    command = [sys.executable, "-m", "lua_lightning.cli", "cache", "experiments/stage1.yaml"]
    command += [f"data.photos={photo_folder}", *settings]
    workers = [subprocess.Popen([*command, "--part", f"{part}/2"]) for part in (0, 1)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    cache = build_cache(together, photos, codec)
    assert writes == []  # both parts were there: it only closes the cache
    assert contents(cache) == whole
    assert len(list(cache.folder.glob("shards-*-of-2.jsonl"))) == 2


def test_a_part_that_is_none_is_refused(photo_folder, capsys):
    for part in ("2/2", "1", "a/b"):
        assert main(["cache", "experiments/stage1.yaml", f"data.photos={photo_folder}", "--part", part]) == 2
        assert "0/4" in capsys.readouterr().err


def damage_bytes(path):
    content = bytearray(path.read_bytes())
    content[-10] ^= 255
    path.write_bytes(content)


def make_foreign(path):
    save_file(load_file(path), path, metadata={"fingerprint": "another"})


@pytest.mark.parametrize("harm", [damage_bytes, make_foreign, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_or_foreign_shard_is_rebuilt(cache_settings, photos, codec, writes, harm):
    cache = build_cache(cache_settings, photos, codec)
    whole = contents(cache)
    victim = cache.shards("train")[1]["file"]
    harm(cache.folder / victim)
    writes.clear()
    again = build_cache(cache_settings, photos, codec)
    assert writes == [victim]
    assert contents(again) == whole
    assert pairs.file_sha256(again.folder / victim) == whole[victim]


def test_another_codec_is_another_cache(cache_settings, photos, codec_folder):
    first = build_cache(cache_settings, photos, LatentCodec.from_pretrained(codec_folder))
    other = LatentCodec.from_pretrained(codec_folder)
    other.model.synthesis.bias += 0.1
    second = build_cache(cache_settings, photos, other)
    assert first.folder != second.folder
    with pytest.raises(UserError, match="build another with"):
        first.check_fits(other)


def test_photographs_that_are_all_too_small_are_said(cache_settings, photos, codec):
    with pytest.raises(UserError, match=r"no train photograph .* 256 px"):
        build_cache(dataclasses.replace(cache_settings, crop_px=256), photos, codec)


def test_grid_sampling_takes_every_whole_crop_once(cache_settings, photos, codec):
    cache = build_cache(dataclasses.replace(cache_settings, sampling="grid"), photos, codec)
    assert sum(shard["pairs"] for shard in cache.shards("train")) == 4 * 4


def test_a_training_patch_is_the_same_region_at_each_scale(cache):
    whole, dataset = PairDataset(cache, "train", crop=8), PairDataset(cache, "train", crop=4, seed=3)
    assert set(dataset[0]) == {"sample", "hr", "lr_x2", "lr_x4", "photo"}
    shards = [load_file(cache.folder / shard["file"]) for shard in cache.shards("train")]
    for n in range(24):
        item = dataset[n]
        assert (item["hr"].shape[-1], item["lr_x2"].shape[-1], item["lr_x4"].shape[-1]) == (4, 2, 1)
        found = [
            (shard, row, y, x)
            for shard in shards
            for row in range(len(shard["hr"]))
            for y in (0, 4)
            for x in (0, 4)
            if torch.equal(shard["hr"][row, :, y : y + 4, x : x + 4], item["hr"])
        ]
        assert len(found) == 1
        shard, row, y, x = found[0]
        assert torch.equal(shard["lr_x2"][row, :, y // 2 : y // 2 + 2, x // 2 : x // 2 + 2], item["lr_x2"])
        assert torch.equal(shard["lr_x4"][row, :, y // 4 : y // 4 + 1, x // 4 : x // 4 + 1], item["lr_x4"])
    assert len(whole) == 12


def test_training_pixels_are_those_of_the_patch(cache_settings, photos, codec):
    cache = build_cache(dataclasses.replace(cache_settings, train_pixels=True), photos, codec)
    dataset = PairDataset(cache, "train", crop=4)
    shards = [load_file(cache.folder / shard["file"]) for shard in cache.shards("train")]
    for n in range(6):
        item = dataset[n]
        (found,) = [
            image[:, 8 * y : 8 * y + 32, 8 * x : 8 * x + 32]
            for shard in shards
            for latents, image in zip(shard["hr"], shard["image"], strict=True)
            for y in (0, 4)
            for x in (0, 4)
            if torch.equal(latents[:, y : y + 4, x : x + 4], item["hr"])
        ]
        torch.testing.assert_close(item["image"], found.float() / 127.5 - 1)


def test_the_stream_is_a_pure_function_of_its_position(cache):
    one, other = (PairDataset(cache, "train", crop=4, seed=3) for _ in range(2))
    assert torch.equal(one[1000]["hr"], other[1000]["hr"])
    for epoch in range(3):
        positions = range(12 * epoch, 12 * epoch + 12)
        # every photograph gives three crops, so each turns up three times in every pass over the pairs
        assert Counter(one[n]["photo"] for n in positions) == dict.fromkeys([one[n]["photo"] for n in range(12)], 3)
    assert [one[n]["photo"] for n in range(12)] != [one[n]["photo"] for n in range(12, 24)]


def test_a_patch_larger_than_the_crop_is_refused(cache):
    with pytest.raises(UserError, match=r"train\.crop_latents=16"):
        PairDataset(cache, "train", crop=16)


def test_processes_share_the_stream_without_overlap():
    ranks = [list(StreamSampler(4, 20, rank, 2)) for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == list(range(4, 20))
    assert len(StreamSampler(4, 20, 1, 2)) == 10


def test_the_manifest_is_plain_json(cache):
    assert json.loads((cache.folder / "manifest.json").read_text())["format"] == pairs.FORMAT


def test_pixel_pairs_hold_photographs_and_what_a_codec_leaves_of_small_ones(
    cache_config, photo_folder, codec, codec_folder, tmp_path
):
    photos, pixels = PhotoSet.load(photo_folder), LatentCodec.from_pretrained("rgb")
    config = dataclasses.replace(cache_config, folder=str(tmp_path), codec="rgb", through=str(codec_folder))
    item = PairDataset(build_cache(config, photos, pixels), "val")[0]
    assert item["hr"].shape == (3, 64, 64)
    assert torch.allclose(item["hr"], item["image"], atol=1e-6)
    small = downscale(item["image"][None], 2)
    expected = codec.decode(codec.encode(small)).clamp(-1, 1)[0]
    assert torch.allclose(item["lr_x2"], expected, atol=1e-4)
    plain = dataclasses.replace(config, through=None)
    assert torch.allclose(PairDataset(build_cache(plain, photos, pixels), "val")[0]["lr_x2"], small[0], atol=1e-4)
    assert len(list(tmp_path.iterdir())) == 2  # two caches: what the crops went through is part of the name


@pytest.mark.parametrize("processes", range(1, 9))
@pytest.mark.parametrize("crops", [1, 6, 13, 36])
def test_any_number_of_processes_scores_every_held_out_crop(crops, processes):
    ranks = [list(HeldOutSampler(crops, rank, processes)) for rank in range(processes)]
    assert {sample for samples in ranks for sample in samples} == set(range(crops))
    assert len({len(samples) for samples in ranks}) == 1  # nobody waits for nobody
    assert all(len(samples) == len(HeldOutSampler(crops, 0, processes)) > 0 for samples in ranks)


def big_cache(folder, shards, each):
    """Return a cache whose manifest lists `shards` shards, without any file."""
    entries = [{"file": f"train-{number:05d}.safetensors", "split": "train", "pairs": each} for number in range(shards)]
    settings = {"crop_px": 64, "train_pixels": False}
    manifest = {
        "fingerprint": "",
        "photos": [],
        "statistics": {},
        "shards": entries,
        "settings": settings,
        "codec": {"downscale": 8},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return pairs.PairCache(folder)


def test_millions_of_pairs_cost_a_worker_little(tmp_path):
    """The published set in its smallest shards: an index of one object a pair took 246 MB in each process."""
    dataset = PairDataset(big_cache(tmp_path, 59_375, 64), "train", crop=4)
    assert len(dataset) == 3_800_000
    assert dataset.place(0) == ("train-00000.safetensors", 0)
    assert dataset.place(64 * 7 + 5) == ("train-00007.safetensors", 5)
    assert dataset.place(3_799_999) == ("train-59374.safetensors", 63)
    dataset._order(0)
    assert len(pickle.dumps(dataset.__getstate__() | {"cache": None})) < 4e6


def test_a_process_keeps_few_shards_open(cache, monkeypatch):
    monkeypatch.setattr(pairs_dataset, "OPEN_SHARDS", 2)
    opened = PairDataset(cache, "train", crop=4)
    again = PairDataset(cache, "train", crop=4)
    assert len(cache.shards("train")) > 2
    for n in range(30):
        item = opened[n]
        assert len(opened._opened) <= 2
        again._opened.clear()
        assert item["hr"].equal(again[n]["hr"])


def test_held_out_photographs_are_bounded_and_drawn_by_their_hash(cache_config, photo_folder, codec, tmp_path):
    photos = PhotoSet.load(photo_folder)
    assert len(photos.split("val")) > 1
    bounded = dataclasses.replace(cache_config, folder=str(tmp_path), held_out_photos=1)
    cache = build_cache(bounded, photos, codec)
    (kept,) = {item["photo"] for item in PairDataset(cache, "val")}
    assert photos.photos[kept].sha256 == min(photo.sha256 for photo in photos.split("val"))
    # A bound that leaves nothing out is no reason for another cache: older ones, made without it, are found.
    loose, looser = (dataclasses.replace(bounded, held_out_photos=count) for count in (100, 1000))
    assert build_cache(loose, photos, codec).folder == build_cache(looser, photos, codec).folder != cache.folder


def test_parts_read_the_plan_of_held_out_crops(cache_config, photo_folder, codec, tmp_path, monkeypatch):
    photos, config = PhotoSet.load(photo_folder), dataclasses.replace(cache_config, folder=str(tmp_path))
    folder = build_part(config, photos, codec, 0, 2)
    asked = []
    monkeypatch.setattr(
        pairs, "plan_crops", lambda photos, split, config: asked.append(split) or plan_crops(photos, split, config)
    )
    build_part(config, photos, codec, 1, 2)
    assert asked == ["train"]
    (folder / "plan-val.json").write_text("[[1,")
    assert PairDataset(build_cache(config, photos, codec), "val")[0]["hr"].isfinite().all()
    assert "val" in asked
