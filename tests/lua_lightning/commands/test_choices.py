"""What can be chosen is listed once, for the library's commands and for those of the workbench."""

from lua_lightning.commands.choices import ELSEWHERE, GENERATOR_NAMES, generators
from lua_lightning.generators.catalogue import GENERATORS


def test_every_generator_of_the_catalogue_can_be_chosen():
    assert set(GENERATORS) | set(ELSEWHERE) == set(GENERATOR_NAMES)
    assert generators() == {"generators": GENERATOR_NAMES}
