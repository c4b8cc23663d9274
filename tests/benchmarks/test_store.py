import torch
from PIL import Image

from benchmarks.store import Record, image_path, read, write

RECORD = Record("lua", 3, "a lake", 45, 512, "abc", {"generate": 1.0, "decode": 0.5}, {"decode": 900.0}, ("generate",))


def test_an_image_holds_everything_that_made_it(tmp_path):
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    write(tmp_path, image, RECORD)
    assert read(tmp_path, "lua", 3, "abc") == RECORD
    with Image.open(image_path(tmp_path, "lua", 3)) as stored:
        assert stored.size == (16, 16)
    assert [path.name for path in image_path(tmp_path, "lua", 3).parent.iterdir()] == ["0003.png"]


def test_a_picture_that_was_harmed_later_is_made_again(tmp_path):
    torch.manual_seed(0)
    write(tmp_path, torch.rand(1, 3, 64, 64) * 2 - 1, RECORD)
    path = image_path(tmp_path, "lua", 3)
    content = path.read_bytes()
    start = content.index(b"IDAT") + 20
    for harmed in (content[: len(content) // 2], content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :]):
        path.write_bytes(harmed)
        assert read(tmp_path, "lua", 3, "abc") is None
    path.write_bytes(content)
    assert read(tmp_path, "lua", 3, "abc") == RECORD


def test_what_is_not_there_or_not_the_same_is_made_again(tmp_path):
    assert read(tmp_path, "lua", 3, "abc") is None
    write(tmp_path, torch.zeros(1, 3, 8, 8), RECORD)
    assert read(tmp_path, "lua", 3, "other settings") is None
    path = image_path(tmp_path, "lua", 3)
    path.write_bytes(path.read_bytes()[:40])  # cut short
    assert read(tmp_path, "lua", 3, "abc") is None
    Image.new("RGB", (8, 8)).save(path)  # an image of somebody else's
    assert read(tmp_path, "lua", 3, "abc") is None
