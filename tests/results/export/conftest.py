"""A sweep that is exported: three rows, a trial that runs, a failed one, stored predictions."""

import pytest

from fieldtrial.disk.files import write_json
from tests.results.conftest import Written, write_predictions

INPUTS = {
    "cut": "content",
    "data": "0123456789abcdef",
    "classes": {"daisy": 30, "rose": 20},
    "recipe": "shorter side 64",
    "remarks": ["1 image was unreadable."],
}


@pytest.fixture
def sweep(complete: Written) -> Written:
    complete.running(0, lr=0.3)
    complete.failed(1, lr=0.2)
    counts = {"train_images": 32, "validation_images": 8, "test_images": 10}
    run = complete.ended(2, validation=0.1, result=counts, lr=0.25)
    write_json(run.inputs_path, INPUTS)
    write_predictions(run, 0.5, 0)
    return complete
