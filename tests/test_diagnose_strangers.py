"""Faults that the rules were not written beside: planted in a scan of other hands, with and without a returned
state."""

import pytest
from strangers import FAULTS, stranger

from quamba_lab.diagnose import diagnose


def test_the_stranger_is_honest():
    assert diagnose(stranger(), time_limit=60.0).verdict == "rounding"


@pytest.mark.parametrize("name", list(FAULTS)[::3])
def test_a_strangers_fault_is_named(name):
    operation, bug = FAULTS[name]
    found = diagnose(stranger(**bug), time_limit=60.0, reproducer=False)
    assert (found.verdict, found.operation) == ("fault", operation), found.evidence


@pytest.mark.parametrize("name", [name for name in FAULTS if FAULTS[name][0] != "state_quantization"][1::9])
def test_y_alone_is_enough(name):
    operation, bug = FAULTS[name]
    scan = stranger(**bug)
    found = diagnose(lambda x: scan(x).y, time_limit=60.0, reproducer=False)
    assert (found.verdict, found.operation) == ("fault", operation), found.evidence
