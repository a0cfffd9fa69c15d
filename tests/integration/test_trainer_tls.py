"""A trainer that is reached by https, with certificates that are made here."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.app import open_trainer
from bot.cli.doctor import _is_safe, check_trainer
from storage.artifacts import verify
from storage.errors import ConfigurationError, TrainerUnavailable
from storage.settings import Settings
from tests.fakes.fake_job import COMMAND
from tests.fakes.trainer_bench import KEY, make_snapshot
from tests.integration.test_local_trainer import serve
from tests.integration.test_trainer_client import make_artifact
from trainer.client import TrainerClient
from trainer.executors.subprocess import SubprocessExecutor
from trainer.server import require_encryption, serving
from trainer.store import Store
from trainer.tls import client_context, server_context

OPENSSL = shutil.which("openssl")


def make_certificate(
    folder: Path, name: str = "own", *, host: str = "IP:127.0.0.1", more: tuple[str, ...] = ()
) -> Path:
    """A self-signed certificate `name`.crt with its key `name`.key."""
    if OPENSSL is None:
        pytest.skip("the command openssl, which makes the certificates, is not installed")
    certificate = folder / f"{name}.crt"
    argv = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    argv += ["-subj", "/CN=trainer", "-addext", f"subjectAltName={host}"]
    argv += ["-keyout", str(folder / f"{name}.key"), "-out", str(certificate), *(more or ("-nodes",))]
    subprocess.run(argv, check=True, capture_output=True)
    (folder / f"{name}.key").chmod(0o600)
    return certificate


@asynccontextmanager
async def https(folder: Path, certificate: Path | None) -> AsyncIterator[int]:
    tls = None if certificate is None else server_context(certificate, certificate.with_suffix(".key"))
    async with serving(Store(folder / "trainer"), SubprocessExecutor(COMMAND), [KEY], tls=tls) as port:
        yield port


async def test_everything_goes_through_an_encrypted_connection(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with https(tmp_path, certificate) as port:
        artifact = make_artifact(tmp_path / "trainer" / "artifacts", 3_000_000)
        async with TrainerClient(f"https://127.0.0.1:{port}", KEY, ca_file=certificate) as client:
            assert (await client.health()).version == 1
            await client.put_snapshot(make_snapshot(tmp_path / "out"))
            assert verify(await client.fetch_artifact(artifact.name, tmp_path / "models"))


@pytest.mark.parametrize(
    ("host", "trusted"), [("IP:127.0.0.1", None), ("IP:127.0.0.1", "other"), ("DNS:gpu.example", "own")]
)
async def test_a_certificate_that_is_not_to_be_trusted_is_refused(
    tmp_path: Path, host: str, trusted: str | None
) -> None:
    certificate = make_certificate(tmp_path, host=host)
    make_certificate(tmp_path, "other")
    authority = None if trusted is None else tmp_path / f"{trusted}.crt"
    async with (
        https(tmp_path, certificate) as port,
        TrainerClient(f"https://127.0.0.1:{port}", KEY, ca_file=authority) as client,
    ):
        with pytest.raises(TrainerUnavailable, match="cannot be spoken to safely"):
            await client.health()


async def test_http_and_https_do_not_understand_each_other_and_say_so(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with (
        https(tmp_path / "safe", certificate) as safe,
        https(tmp_path / "plain", None) as plain,
        TrainerClient(f"http://127.0.0.1:{safe}", KEY) as one,
        TrainerClient(f"https://127.0.0.1:{plain}", KEY, ca_file=certificate) as other,
    ):
        with pytest.raises(TrainerUnavailable):
            await one.health()
        with pytest.raises(TrainerUnavailable, match="http or https"):
            await other.health()


def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    for context in (server_context(certificate, certificate.with_suffix(".key")), client_context(certificate)):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert client_context(certificate).check_hostname


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    own = make_certificate(tmp_path)
    make_certificate(tmp_path, "other")
    make_certificate(tmp_path, "locked", more=("-passout", "pass:secret"))
    for certificate, key, words in (
        ("missing.crt", "own.key", "No such file"),
        ("own.crt", "missing.key", "No such file"),
        ("own.crt", "other.key", "cannot be used together"),
        ("own.key", "own.key", "cannot be used together"),
        ("locked.crt", "locked.key", "cannot be used together"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            server_context(tmp_path / certificate, tmp_path / key)
    own.with_suffix(".key").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        server_context(own, own.with_suffix(".key"))
    for name, words in (("missing.crt", "cannot be read"), ("own.key", "no certificate")):
        with pytest.raises(ConfigurationError, match=words):
            client_context(tmp_path / name)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "gpu.example"])
def test_public_address_without_encryption_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--plain-http"):
        require_encryption(host, tls=False, plain_http=False)
    require_encryption(host, tls=True, plain_http=False)
    require_encryption(host, tls=False, plain_http=True)
    require_encryption("127.0.0.1", tls=False, plain_http=False)


async def test_the_command_serves_https_to_the_bot_and_its_doctor(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    key = tmp_path / "trainer.key"
    key.write_text(KEY)
    key.chmod(0o600)
    options = ["--host", "0.0.0.0", "--port", "0", "--key-file", str(key)]
    process = serve(tmp_path / "data", *options, "--tls-cert", str(certificate), "--tls-key", f"{tmp_path}/own.key")
    try:
        assert process.stdout is not None
        url = f"https://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        settings = Settings(data=tmp_path, trainer_url=url, trainer_key_file=key, trainer_ca_file=certificate)
        async with open_trainer(settings) as client:
            assert (await client.health()).jobs_running == 0
        check = await check_trainer(settings)
        assert check.is_fine
        assert "encrypted" not in check.sentence
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_the_doctor_knows_where_something_is_encrypted() -> None:
    assert all(map(_is_safe, ("https://gpu.example:8740", "http://127.0.0.1:8740", "http://[::1]:8740")))
    assert not any(map(_is_safe, ("http://gpu.example:8740", "http://10.0.0.7")))
