"""The table of rows: one name for each method, in every table."""

from baselines.registry import METHODS, method_class
from lua_lightning.evaluation.rows import ROWS, row_of, trained_rows


def test_every_method_has_a_row_under_its_own_name():
    assert [name for name in METHODS if name not in ROWS] == []
    assert {name: method_class(name).name for name in METHODS} == {name: name for name in METHODS}


def test_only_reference_points_do_not_compete():
    assert [row.name for row in ROWS.values() if not row.competes] == ["ceiling", "photo-bicubic"]
    assert row_of("a-folder-of-mine").competes


def test_training_measures_the_rows_that_need_no_training_under_their_mlflow_names():
    assert trained_rows() == {
        "latent-bicubic": "_bicubic",
        "pixel-bicubic": "_pixel_bicubic",
        "lua": "",
        "ceiling": "_ceiling",
        "photo-bicubic": "_photo_bicubic",
    }
