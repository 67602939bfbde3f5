"""A fleet's gateway holds back its calls: rules on the wire, and the kernel's WireGuard under them."""

from tests.contracts.restraint import RestraintContract


class TestRestraint(RestraintContract):
    pass
