"""Every setting is documented, and the table in the repository is current."""

import pytest

from generate.settings import FILE, table
from service.settings import Settings as ServiceSettings
from worker.settings import Settings as WorkerSettings


def test_the_table_in_the_repository_is_current():
    assert FILE.read_text() == table(), "run: make settings"


@pytest.mark.parametrize("kind", [ServiceSettings, WorkerSettings], ids=["service", "worker"])
def test_every_setting_says_what_it_is(kind):
    assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_what_both_sides_read_is_the_same_on_both():
    both = ServiceSettings.model_fields.keys() & WorkerSettings.model_fields.keys()
    assert {"redis_url", "queue", "models_folder", "log_format"} <= both
    for name in both:
        assert ServiceSettings.model_fields[name].default == WorkerSettings.model_fields[name].default
