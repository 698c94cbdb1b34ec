"""Settings that every test of the model wants."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small models are fastest on one thread, and equal to the bit only on equally many."""
    torch.set_num_threads(1)
