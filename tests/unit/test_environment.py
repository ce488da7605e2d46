"""A misspelt setting stops the start; what others put into the environment does not."""

from __future__ import annotations

import pytest

from service.environment import unknown_setting


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VISION_API_KEY_FILE", "VISION_API_KEYS_FILE"),
        ("VISION_ALLOW_ANONYMUS", "VISION_ALLOW_ANONYMOUS"),
        ("VISION_ADMN_PORT", "VISION_ADMIN_PORT"),
    ],
)
def test_a_misspelt_name_is_named_with_what_it_may_have_meant(name: str, meant: str) -> None:
    assert unknown_setting({"PATH": "", name: "1"}) == f"{name} is no setting; did you mean {meant}?"


def test_what_resembles_nothing_is_named_alone() -> None:
    assert unknown_setting({"VISION_QQQQQQQQQQQQQQ": "1"}) == "VISION_QQQQQQQQQQQQQQ is no setting"


def test_settings_names_of_other_commands_and_service_links_are_well() -> None:
    links = {
        "VISION_TRITON_SERVICE_HOST": "10.0.0.7",
        "VISION_TRITON_SERVICE_PORT_GRPC": "8001",
        "VISION_TRITON_PORT": "tcp://10.0.0.7:8001",
        "VISION_TRITON_PORT_8001_TCP_ADDR": "10.0.0.7",
    }
    ours = {"VISION_WORKERS": "2", "VISION_API_KEYS_FILE": "", "VISION_SERVER": "", "VISION_CACHE": "", "PATH": ""}
    assert unknown_setting(links | ours) is None
