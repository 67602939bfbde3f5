"""The doctor on a kernel that has everything."""

import json

from tests.contracts.doctor import DoctorContract, wgjit


class TestDoctor(DoctorContract):
    pass


def test_everything_works() -> None:
    answer = json.loads(wgjit("doctor", "--json").stdout)
    assert (answer["delivery"], answer["backend"]) == ("hold", "nft")
    assert answer["advice"] == answer["obstacles"] == []
    kernel = [finding["ok"] for finding in answer["findings"] if finding["name"] == "wireguard_kernel"]
    assert kernel == [True]
