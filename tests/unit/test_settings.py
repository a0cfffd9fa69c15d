"""Where a setting comes from, and which ones cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from storage.settings import default_data_directory, is_loopback, load_settings, read_secret


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.upper().startswith("PUPIL_")] + ["DISCORD_TOKEN"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PUPIL_DATA", str(tmp_path))


def write(tmp_path: Path, toml: str) -> None:
    (tmp_path / "pupil.toml").write_text(toml)


def test_arguments_beat_the_environment_beats_the_file_beats_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().port == 8730
    write(tmp_path, "port = 1\nseed = 1\nqueue_limit = 1")
    monkeypatch.setenv("PUPIL_PORT", "2")
    monkeypatch.setenv("PUPIL_SEED", "2")
    found = load_settings(port=3, seed=None)
    assert (found.port, found.seed, found.queue_limit) == (3, 2, 1)


def test_a_precision_goes_into_every_job_and_only_known_ones_are_taken() -> None:
    assert load_settings(recipe={"epochs": 2}).training_recipe == {"epochs": 2}
    assert load_settings(recipe={"epochs": 2}, precision="fp32").training_recipe == {"epochs": 2, "fp32": 1}
    with pytest.raises(ConfigurationError, match="precision"):
        load_settings(precision="int4")


def test_a_log_level_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUPIL_LOG_LEVEL", "debug")
    assert load_settings().log_level == "DEBUG"


def test_the_file_is_the_one_of_the_chosen_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other, "port = 7")
    assert load_settings(data=other).port == 7
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(data="~/other").data == other
    assert load_settings(data="~/other").port == 7


def test_an_empty_variable_is_not_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUPIL_TOKEN", "DISCORD_TOKEN", "PUPIL_PORT", "PUPIL_API_KEY"):
        monkeypatch.setenv(name, "")
    found = load_settings()
    assert (found.token, found.port, found.api_key) == (None, 8730, None)


def test_an_empty_key_or_token_is_none(tmp_path: Path) -> None:
    write(tmp_path, 'api_key = ""\ntoken = ""')
    assert (load_settings().token, load_settings().api_key) == (None, None)


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("port = 70000", "port"),
        ('port = "many"', "port"),
        ("prot = 1", "prot"),
        ("queue_limit = 0", "queue_limit"),
        ("operator_ids = 7", "operator_ids"),
        ('log_level = "verbose"', "log_level.*'DEBUG', 'INFO'"),
        ("port = = 1", "pupil.toml"),
        ('trainer_url = "gpu.example.org:8740"', "trainer_url.*http://"),
        ('trainer_url = "127.0.0.1:8740"', "trainer_url.*http://"),
        ('trainer_url = "ftp://gpu.example.org"', "trainer_url.*http://"),
        ('trainer_url = "http://"', "trainer_url.*http://"),
        ('trainer_url = "http://gpu.example.org:port"', "trainer_url.*http://"),
        ('trainer_url = "https://gpu.example.org:8740"', "no trainer_key_file"),
    ],
)
def test_a_setting_that_cannot_work_is_named_in_one_sentence(tmp_path: Path, toml: str, named: str) -> None:
    write(tmp_path, toml)
    with pytest.raises(ConfigurationError, match=named) as refusal:
        load_settings()
    assert "\n" not in str(refusal.value)


def test_a_variable_that_is_no_json_is_not_blamed_on_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUPIL_RECIPE", "{epochs")
    with pytest.raises(ConfigurationError, match="environment") as refusal:
        load_settings()
    assert "recipe" in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "toml"), [("1, 2", ""), (None, 'operator_ids = ["1", "2"]'), (None, "operator_ids = [1, 2]")]
)
def test_operators_are_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, toml: str) -> None:
    write(tmp_path, toml)
    if given:
        monkeypatch.setenv("PUPIL_OPERATOR_IDS", given)
    assert load_settings().operator_ids == ("1", "2")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "", "example.org"])
def test_a_public_address_needs_a_key(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="PUPIL_API_KEY"):
        load_settings(host=host)
    write(tmp_path, 'api_key = ""')
    with pytest.raises(ConfigurationError, match="PUPIL_API_KEY"):
        load_settings(host=host)
    assert load_settings(host=host, api_key="a key").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_a_loopback_address_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert load_settings(host=host).host == host


@pytest.mark.parametrize("url", ["http://127.0.0.1:8740", "http://localhost:8740", "https://[::1]:8740"])
def test_a_trainer_on_this_host_needs_no_key(url: str) -> None:
    assert load_settings(trainer_url=url).trainer_url == url


def test_a_trainer_on_another_host_needs_one(tmp_path: Path) -> None:
    url, key = "https://gpu.example.org/trainer", tmp_path / "trainer.key"
    found = load_settings(trainer_url=url, trainer_key_file=key)
    assert (found.trainer_url, found.trainer_key_file) == (url, key)


def test_a_token_chooses_discord_and_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().space == tmp_path / "playground"
    monkeypatch.setenv("PUPIL_TOKEN", "weaker")
    monkeypatch.setenv("DISCORD_TOKEN", "stronger")
    found = load_settings()
    assert found.token is not None
    assert found.token.get_secret_value() == "stronger"
    assert found.space == tmp_path / "discord"


def test_a_token_can_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("\n  from the file \nof the application Pupil, since May\n")
    secret.chmod(0o600)
    found = load_settings(token_file=secret)
    assert found.token is not None
    assert found.token.get_secret_value() == "from the file"


def test_secrets_do_not_show(tmp_path: Path) -> None:
    found = load_settings(token="TOPSECRET", api_key="KEYSECRET")
    assert "SECRET" not in repr(found) + str(found)
    write(tmp_path, 'port = "TOPSECRET"')
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    assert "TOPSECRET" not in str(refusal.value)


@pytest.mark.parametrize(
    ("mode", "contents", "said"), [(0o644, "x", "chmod 600"), (0o600, "", "empty"), (None, "", "cannot be read")]
)
def test_a_secret_file_must_be_private_and_full(tmp_path: Path, mode: int | None, contents: str, said: str) -> None:
    path = tmp_path / "token"
    if mode is not None:
        path.write_text(contents)
        path.chmod(mode)
    with pytest.raises(ConfigurationError, match=said):
        read_secret(path)


def test_the_default_directory_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert default_data_directory() == Path("/x/pupil")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    assert default_data_directory() == Path.home() / ".local" / "share" / "pupil"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_data_directory() == Path.home() / "Library" / "Application Support" / "pupil"
