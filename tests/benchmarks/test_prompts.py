"""Prompts come from the protocol, a file or a folder; whatever is wrong with them is one sentence."""

import json

import pytest

from benchmarks.prompts import LONGEST, read_prompts
from lua_lightning.errors import UserError

TEXTS = tuple(f"a lake number {number}" for number in range(1000))


def test_a_thousand_prompts_come_from_any_kind_of_source(tmp_path):
    lines, listed, captions, folder = (tmp_path / name for name in ("a.txt", "b.json", "c.json", "photos"))
    lines.write_text("\ufeff" + "\n\n".join(TEXTS) + "\n", encoding="utf-8")
    listed.write_text(json.dumps(TEXTS))
    names = [f"{number:04d}.png" for number in range(1000)]
    captions.write_text(json.dumps(dict(reversed(list(zip(names, TEXTS, strict=True))))))
    folder.mkdir()
    for name, text in zip(names, TEXTS, strict=True):
        (folder / name).with_suffix(".txt").write_text(f"{text}\n")
    for source in (lines, listed, captions, folder):
        assert read_prompts(1000, source) == TEXTS
        assert read_prompts(3, str(source)) == TEXTS[:3]
        assert read_prompts(0, source, most=2000) == TEXTS
        assert read_prompts(0, source, most=20) == TEXTS[:20]


def test_a_caption_of_several_lines_is_one_prompt(tmp_path):
    (tmp_path / "a.txt").write_text("a lake\nat  sunset\n")
    assert read_prompts(1, tmp_path) == ("a lake at sunset",)


def test_the_protocols_own_prompts_are_sixteen():
    assert len(read_prompts(16)) == 16
    with pytest.raises(UserError, match=r"has 16 prompts, and 1000 are asked for: .*prompts_file=FILE"):
        read_prompts(0, most=1000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "has 0 prompts, and 1 are asked for"),
        ("a.txt", b"a lake\n", "has 1 prompts, and 2 are asked for: lower prompts, or give a longer file"),
        ("a.txt", b"a \xff lake\n", "is no text in UTF-8"),
        ("a.txt", b"a" * (LONGEST + 1), "prompt 1 has 4001 characters, above 4000"),
        ("a.json", b'["a lake", " "]', "prompt 2 is empty"),
        ("a.json", b'["a lake", 2]', "holds something else than prompts: give one prompt to a line"),
        ("a.json", b'"a lake"', "holds something else than prompts"),
        ("a.json", b"[" * 100_000, "cannot be read as JSON"),
        ("a.json", b'["a la', "cannot be read as JSON"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_prompts(2 if content == b"a lake\n" else 0, tmp_path / name, most=2)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UserError, match=r"prompts_file=.*nowhere\.txt must be a file or a folder that is there"):
        read_prompts(1, tmp_path / "nowhere.txt")
