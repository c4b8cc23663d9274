"""Preparation on images whose sharpness and likeness are known, with Pillow and numpy as the outside reference."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.candidates import Candidate, Harvest, Sharpness
from data.dead_leaves import dead_leaves
from data.prepare import LUMA, find_sharp_size, fingerprint, prepare, softness, split_by_author
from lua_lightning.errors import UserError
from lua_lightning.images import read_image, resize, to_tensor
from lua_lightning.pairs.photos import file_sha256, split_by_hash

SMALL = Sharpness(min_side=64)


def luminance(array: np.ndarray) -> torch.Tensor:
    return (to_tensor(array) * LUMA).sum(1, keepdim=True)


def enlarged(array: np.ndarray, factor: int) -> np.ndarray:
    height, width = array.shape[:2]
    return np.asarray(Image.fromarray(array).resize((width * factor, height * factor), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    return dead_leaves(256, seed=1)


def candidates(folder: Path, **arrays: np.ndarray) -> list[Candidate]:
    folder.mkdir(exist_ok=True)
    found = []
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name}.png")
        found.append(Candidate(folder / f"{name}.png", f"folder:{name}", "CC0-1.0"))
    return found


def run(tmp_path: Path, found: list[Candidate], sharpness: Sharpness = SMALL):
    (tmp_path / "made").mkdir()
    return prepare(Harvest(found), tmp_path / "made", sharpness, fractions=(0.5, 0.25), workers=2)


def test_softness_agrees_with_pillow_and_numpy(sharp: np.ndarray):
    plane = Image.fromarray(luminance(sharp)[0, 0].numpy())
    halved = plane.resize((128, 128), Image.Resampling.BICUBIC)
    losses = (np.asarray(halved.resize((256, 256), Image.Resampling.BICUBIC)) - np.asarray(plane)) ** 2
    worst_tile = losses.reshape(2, 128, 2, 128).mean((1, 3)).max()  # a quarter of the four tiles
    assert softness(luminance(sharp)) == pytest.approx(10 * np.log10(4 / worst_tile), abs=0.01)


def test_sky_does_not_decide_on_softness(sharp: np.ndarray):
    with_sky = np.full((512, 256, 3), 128, dtype=np.uint8)
    with_sky[:256] = sharp
    # Two of the eight tiles count instead of one of four, so the value is that of a mean over the better half.
    assert softness(luminance(sharp)) <= softness(luminance(with_sky)) < softness(luminance(sharp)) + 2


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_an_enlarged_image_is_reduced_to_where_it_is_sharp_again(sharp: np.ndarray, factor: int):
    sharpness = Sharpness(min_side=64, target_softness=27)
    reduced_by, left_soft = find_sharp_size(luminance(enlarged(sharp, factor)), sharpness)
    assert reduced_by == pytest.approx(factor)
    assert left_soft <= 27


def test_reducing_stops_at_the_smallest_side(sharp: np.ndarray):
    soft = luminance(enlarged(sharp, 4))
    for min_side, most in ((1024, 1.0), (600, 2**0.5), (512, 2.0)):
        assert find_sharp_size(soft, Sharpness(min_side, target_softness=0))[0] == pytest.approx(most)


def test_where_reducing_does_not_help_the_sharpest_size_is_kept():
    texture = torch.zeros(1, 1, 256, 256)
    texture[..., ::2] = 1  # stripes of one pixel vanish when halved, and reducing turns them into plain grey
    assert find_sharp_size(texture, Sharpness(64, target_softness=-10))[0] == 1.0


def test_fingerprint_tells_pictures_apart_but_not_sizes():
    def bits(array: np.ndarray) -> np.ndarray:
        return np.unpackbits(fingerprint(luminance(array)))

    pictures = [bits(dead_leaves(128, seed=seed, min_radius=8)) for seed in range(6)]
    others = [np.sum(one != other) for i, one in enumerate(pictures) for other in pictures[:i]]
    assert min(others) > 10
    assert np.sum(bits(enlarged(dead_leaves(128, seed=0, min_radius=8), 3)) != pictures[0]) <= 1


def test_of_near_duplicates_the_largest_is_kept_so_that_none_is_in_both_splits(tmp_path: Path, sharp: np.ndarray):
    found = candidates(tmp_path / "in", small=sharp, large=enlarged(sharp, 2), other=dead_leaves(256, seed=2))
    Image.fromarray(sharp).save(tmp_path / "in" / "again.jpg", quality=80)
    found.append(Candidate(tmp_path / "in" / "again.jpg", "folder:again", "CC0-1.0"))
    photos, skipped = run(tmp_path, found)
    assert [photo.source for photo in photos] == ["folder:large", "folder:other"]
    assert sorted((image.source, image.reason) for image in skipped) == [
        ("folder:again", "near-duplicate: the same picture as folder:large"),
        ("folder:small", "near-duplicate: the same picture as folder:large"),
    ]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["large.png", "other.png"]


def test_what_is_stored_is_what_the_photo_says(tmp_path: Path, sharp: np.ndarray):
    originals = {"sharp": sharp, "soft": enlarged(dead_leaves(256, seed=3), 2), "third": dead_leaves(200, seed=4)}
    found = candidates(tmp_path / "in", **originals)
    photos, skipped = run(tmp_path, found)
    assert not skipped
    hashes = [file_sha256(candidate.path) for candidate in found]
    assert {photo.source: photo.source_sha256 for photo in photos} == {
        candidate.source: sha256 for candidate, sha256 in zip(found, hashes, strict=True)
    }
    expected_splits = split_by_hash([(photo.source_sha256, photo.softness) for photo in photos], 0.5, 0.25)
    assert [photo.split for photo in photos] == expected_splits
    by_file = {photo.file: photo for photo in photos}
    np.testing.assert_array_equal(read_image(tmp_path / "made" / "sharp.png"), sharp)
    assert by_file["sharp.png"].reduced_by == 1
    assert by_file["soft.png"].reduced_by == 2
    for name, photo in by_file.items():
        stored = read_image(tmp_path / "made" / name)
        assert stored.shape == (photo.height, photo.width, 3)
        assert photo.sha256 == file_sha256(tmp_path / "made" / name)
        assert photo.softness == pytest.approx(softness(luminance(stored)), abs=0.1)
    red = Image.fromarray(originals["soft"][..., 0].astype(np.float32)).resize((256, 256), Image.Resampling.BICUBIC)
    stored = read_image(tmp_path / "made" / "soft.png")
    np.testing.assert_allclose(stored[..., 0], np.asarray(red).round().clip(0, 255), atol=1)


def test_small_soft_and_broken_images_are_reported(tmp_path: Path, sharp: np.ndarray):
    blurred = to_tensor(sharp)
    blurred = resize(resize(blurred, (8, 8)), (256, 256)).clamp(-1, 1)
    soft = ((blurred[0].permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)
    found = candidates(tmp_path / "in", one=sharp, two=dead_leaves(256, seed=2), soft=soft, tiny=sharp[:40])
    (tmp_path / "in" / "notes.jpg").write_text("not a photograph")
    found.append(Candidate(tmp_path / "in" / "notes.jpg", "folder:notes", "CC0-1.0"))
    photos, skipped = run(tmp_path, found)
    assert [photo.file for photo in photos] == ["one.png", "two.png"]
    reasons = {image.source: image.reason for image in skipped}
    assert reasons["folder:tiny"] == "too small: 256x40 pixels, short side below --min-side 64"
    assert reasons["folder:soft"].startswith("soft at every size: bicubic alone restores it to ")
    assert reasons["folder:notes"] == "is not an image in any format Pillow reads"


def facts_of(count: int) -> list[tuple[str, float]]:
    return [(hashlib.sha256(str(index).encode()).hexdigest(), 25 + index % 7) for index in range(count)]


def test_authors_stand_on_one_side_and_every_split_has_its_share():
    sizes = [1, 2, 3, 1, 4, 2, 1, 1, 5, 2, 3, 1, 2, 2, 10]
    authors = [f"author {number}" for number, size in enumerate(sizes) for _ in range(size)]
    splits = split_by_author(facts_of(40), authors, (0.15, 0.15))
    for author in set(authors):
        assert len({side for side, photo_author in zip(splits, authors, strict=True) if photo_author == author}) == 1
    assert all(2 <= splits.count(side) <= 12 for side in ("val", "test"))
    assert split_by_author(facts_of(40), authors, (0.15, 0.15)) == splits


@pytest.mark.parametrize("authors", [[None] * 12, ["one"] * 12, ["one"] * 6 + ["two"] * 6, ["one"] * 10 + [None] * 2])
def test_without_authors_to_split_by_each_photograph_is_drawn_by_itself(authors):
    assert split_by_author(facts_of(12), authors, (0.15, 0.15)) == split_by_hash(facts_of(12), 0.15, 0.15)


def test_the_author_of_most_photographs_is_trained_on():
    splits = split_by_author(facts_of(12), ["one"] * 8 + [None] * 4, (0.15, 0.15))
    assert set(splits[:8]) == {"train"}
    assert {"val", "test"} <= set(splits[8:])


def test_a_new_set_is_split_by_author_and_one_made_before_keeps_its_splits(tmp_path: Path):
    arrays = {f"view{seed}": dead_leaves(128, seed=seed) for seed in range(16)}
    found = candidates(tmp_path / "in", **arrays)
    found = [replace(candidate, author=f"author {index % 5}") for index, candidate in enumerate(found)]
    made = {}
    for by_author in (False, True):
        folder = tmp_path / str(by_author)
        folder.mkdir()
        photos, _ = prepare(Harvest(found), folder, SMALL, (0.15, 0.15), 2, by_author)
        made[by_author] = photos
    sides = [{photo.split for photo in made[True] if photo.author == f"author {n}"} for n in range(5)]
    by_image = [{photo.split for photo in made[False] if photo.author == f"author {n}"} for n in range(5)]
    assert max(map(len, by_image)) > 1
    assert {len(splits) for splits in sides} == {1}
    known = {photo.source: photo for photo in made[False]}
    stored = [replace(candidate, stored=known[candidate.source]) for candidate in found]
    (tmp_path / "again").mkdir()
    again, _ = prepare(Harvest(stored), tmp_path / "again", SMALL, (0.15, 0.15), 2, by_author=True)
    assert {photo.source: photo.split for photo in again} == {photo.source: photo.split for photo in made[False]}


def test_images_of_one_name_get_files_of_their_own(tmp_path: Path):
    first = candidates(tmp_path / "a", view=dead_leaves(128, seed=5))
    second = candidates(tmp_path / "b", view=dead_leaves(128, seed=6), View_2=dead_leaves(128, seed=7))
    photos, _ = run(tmp_path, first + second)
    assert [photo.file for photo in photos] == ["view-2-2.png", "view-2.png", "view.png"]
    assert len({photo.sha256 for photo in photos}) == 3


def test_nothing_usable_says_what_was_found(tmp_path: Path, sharp: np.ndarray):
    found = candidates(tmp_path / "in", one=sharp, two=sharp[:40])
    with pytest.raises(UserError, match=r"2 images found, 1 usable.*at least 2.*folder:two: too small: 256x40"):
        run(tmp_path, found)
