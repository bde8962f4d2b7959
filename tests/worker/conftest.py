"""The worker's tests have the fixtures of training's: most of its tasks are trials."""

from tests.training.conftest import new_run, numbers

__all__ = ["new_run", "numbers"]
