from typing import Any

import pytest


@pytest.fixture
def prompt() -> dict[str, Any]:
    """A picture with a local test wire, a width, an optional file, and what saves the result."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "local.png"}},
        "2": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo", "value": ["1", 0]}},
        "3": {"class_type": "RunflowInputInt", "inputs": {"input_id": "width", "display_name": "Width"}},
        "4": {
            "class_type": "RunflowInputFile",
            "inputs": {"input_id": "notes", "required": False, "file_name": "notes.txt"},
        },
        "5": {"class_type": "ImageScale", "inputs": {"image": ["2", 0], "width": ["3", 0], "height": 0}},
        "6": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "scaled", "value": ["5", 0]}},
    }


@pytest.fixture
def graph() -> dict[str, Any]:
    """The same workflow in UI format, as far as it matters: a Deploy node that another plugin saved a key in."""
    deploy = {"id": 9, "type": "RunflowDeploy", "widgets_values": ["My Flow", "http://elsewhere", "rf_live_SECRET"]}
    return {"nodes": [deploy], "links": [], "version": 0.4}
