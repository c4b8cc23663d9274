from lua_lightning.evaluation.tables import markdown_scores, print_scores

VALUES = {"_bicubic": 10.0, "_pixel_bicubic": 12.5, "": 15.0, "_ceiling": 20.0, "_photo_bicubic": 25.0}
SCORES = {
    f"x{scale}/{metric}{suffix}": value * scale
    for scale in (2, 4)
    for suffix, value in VALUES.items()
    for metric in ("psnr", "ssim")
}


def test_markdown_and_terminal_show_the_same_cells(capsys):
    lines = markdown_scores(SCORES, "lsr").splitlines()
    assert lines[0] == "| method | x2 PSNR, dB | x2 SSIM | x2 recovery | x4 PSNR, dB | x4 SSIM | x4 recovery |"
    assert lines[2] == "| latent-bicubic | 20.00 | 20.000 | 0.00 | 40.00 | 40.000 | 0.00 |"
    assert lines[4] == "| **lsr** | **30.00** | **30.000** | **0.50** | **60.00** | **60.000** | **0.50** |"
    print_scores(SCORES, "a title", "lsr")
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = [line.split() for line in captured.err.splitlines()]
    for line in lines[2:]:
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")][1:]
        assert any(words[-len(cells) :] == cells for words in shown), line


def test_the_terminal_table_fits_eighty_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_scores(SCORES, "validation photographs, averaged weights")
    error = capsys.readouterr().err
    assert "…" not in error
    assert "photo-bicubic" in error
