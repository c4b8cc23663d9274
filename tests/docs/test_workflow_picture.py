"""The picture of the example workflow shows its nodes from left to right, as the wires run."""

from PIL import Image

from docs.workflow_picture import WORKFLOW, columns, draw
from tests.comfyui.standins import workflow


def test_wires_run_from_left_to_right():
    graph = workflow()
    found = columns(graph)
    for name, node in graph.items():
        for value in node["inputs"].values():
            if isinstance(value, list):
                assert found[value[0]] < found[name]


def test_the_picture_beside_the_workflow_is_of_it():
    with Image.open(WORKFLOW.with_suffix(".png")) as picture:
        assert picture.size == draw(workflow()).size
