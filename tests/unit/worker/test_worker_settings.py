"""The process with the models gets the worker's settings, and sees one GPU."""

import pytest
from pydantic import SecretStr

from worker.settings import Settings


def test_its_environment_gives_it_the_same_settings(monkeypatch, tmp_path):
    told = Settings(redis_url=SecretStr("redis://u:pw@h/1"), models_folder=tmp_path, preload=["a", "b"], lease=7)
    for name, value in told.as_environment().items():
        if name.startswith("LIG_"):
            monkeypatch.setenv(name, value)
    assert Settings() == told


@pytest.mark.parametrize(
    ("device", "visible", "seen", "told"),
    [
        ("cuda:1", None, "1", "cuda"),
        ("cuda:1", "4,7", "7", "cuda"),
        ("cuda", None, None, "cuda"),
        ("cpu", "4,7", "4,7", "cpu"),
    ],
)
def test_one_gpu_is_all_it_sees(monkeypatch, device, visible, seen, told):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    environment = Settings(device=device).as_environment()
    assert environment.get("CUDA_VISIBLE_DEVICES") == seen
    assert environment["LIG_DEVICE"] == told
