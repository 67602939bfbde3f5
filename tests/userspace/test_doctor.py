"""The doctor on this host."""

from tests.contracts.doctor import DoctorContract


class TestDoctor(DoctorContract):
    pass
