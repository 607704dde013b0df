"""Holds docker-compose.yml, Dockerfile and deploy/ to the code and to what they promise.

No Docker engine is needed: this reads the files. What only an engine can tell (whether the images
build and the services come up) is not tested here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import typer
import typer.main
import yaml
from starlette.routing import Route

from tagging.settings import Settings
from tagging.web import health as pages_health
from tests.benchmarks.rows_under_load import SETTINGS
from worker import cli, cli_catalog, cli_train, cli_users, cli_web

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {name: service for name, service in SERVICES.items() if "build" in service}
ONE_SHOT = {"migrate"}
LONG_RUNNING = sorted(SERVICES.keys() - ONE_SHOT)
LOCKS = {"cpu": "requirements.lock", "gpu": "requirements-gpu.lock"}
SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|_KEY")
NAMED_ATELIER = re.compile(r"\bATELIER_[A-Z0-9_]+")
INTERPOLATED = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")


class Instruction(NamedTuple):
    word: str
    rest: str


def dockerfile_stages() -> list[list[Instruction]]:
    """The Dockerfile's instructions: what precedes the first FROM, then one list per stage."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    code = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    stages: list[list[Instruction]] = [[]]
    for line in re.sub(r"\\\n", " ", code).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            if word == "FROM":
                stages.append([])
            stages[-1].append(Instruction(word, " ".join(rest.split())))
    return stages


HEAD, *STAGES = dockerfile_stages()
ARGS = dict(one.rest.split("=", 1) for one in HEAD if one.word == "ARG")


def in_final_stage(word: str) -> list[str]:
    return [one.rest for one in STAGES[-1] if one.word == word]


def copied() -> list[str]:
    """Every path that the Dockerfile copies from the repository."""
    copies = [one.rest.split() for stage in STAGES for one in stage if one.word == "COPY"]
    return [path for words in copies if "--from=" not in words[0] for path in words[:-1]]


def is_sent_to_the_builder(path: str) -> bool:
    """Whether .dockerignore lets `path` through; the last pattern that matches decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        if not pattern.startswith("**/"):
            pattern = f"/{pattern}"
        # A leading slash, so that `**/x` finds x at the top as well; a folder stands for all in it.
        parts = Path(path).parts
        above = ["/" + "/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        if any(fnmatchcase(one, pattern) for one in above):
            sent = line.startswith("!")
    return sent


def is_pinned(image: str) -> bool:
    """Whether an image is named by digest, or by a tag that says which patch release it is."""
    name, _, digest = image.partition("@")
    if digest:
        return re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is not None
    # PostgreSQL's releases have two numbers: 17.11 is a patch release, 17 moves on.
    release = r"\d+\.\d+" if name.startswith("postgres:") else r"\d+\.\d+\.\d+"
    return re.fullmatch(release + r"(-[\w.-]+)?", name.rpartition(":")[2]) is not None


# Images


@pytest.mark.parametrize(
    "image",
    ["redis", "redis:latest", "redis:7.4-alpine", "postgres:17-bookworm", "a:5000/r", "r@x"],
)
def test_what_is_not_pinned_is_seen(image: str) -> None:
    assert not is_pinned(image)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_names_a_pinned_image(name: str) -> None:
    assert is_pinned(SERVICES[name]["image"])


def test_every_stage_starts_from_the_one_pinned_base() -> None:
    bases = {stage[0].rest.split()[0] for stage in STAGES}
    assert bases == {"${PYTHON_IMAGE}"}
    assert re.fullmatch(r"python:3\.12\.\d+-slim-bookworm(@sha256:.+)?", ARGS["PYTHON_IMAGE"])


def test_the_servers_are_of_the_releases_we_chose() -> None:
    assert SERVICES["redis"]["image"].startswith("redis:7.4.")
    assert SERVICES["postgres"]["image"].startswith("postgres:17.")


def test_many_rows_are_measured_with_postgresql_as_it_is_started_here() -> None:
    command = SERVICES["postgres"]["command"]
    given = [word for before, word in itertools.pairwise(command) if before == "-c"]
    assert sorted(given) == sorted(f"{name}={value}" for name, value in SETTINGS.items())


@pytest.mark.parametrize("name", sorted(OWN))
def test_our_own_images_carry_our_version_and_are_never_pulled(name: str) -> None:
    extra = OWN[name]["build"]["args"]["EXTRA"]
    assert extra in LOCKS
    assert OWN[name]["image"] == f"atelier:{PROJECT['version']}-{extra}"
    assert OWN[name]["pull_policy"] == "never"


# Settings and commands


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", "deploy/.env.example"])
def test_every_setting_that_is_named_exists(file: str) -> None:
    known = {f"ATELIER_{field.upper()}" for field in Settings.model_fields}
    named = set(NAMED_ATELIER.findall((ROOT / file).read_text()))
    assert named, f"{file} sets nothing; is it still the right file?"
    assert named <= known


@pytest.mark.parametrize("name", sorted(OWN))
def test_the_settings_are_valid_and_lead_to_the_services(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in OWN[name]["environment"].items():
        if key.startswith("ATELIER_"):
            monkeypatch.setenv(key, INTERPOLATED.sub(_default, str(value)))
    settings = Settings()
    assert settings.resolved_database_url() == "postgresql+psycopg://atelier@postgres:5432/atelier"
    assert settings.resolved_broker_url() == "redis://redis:6379/0"
    assert settings.log_format == "json"
    assert {str(settings.home), str(settings.resolved_images_dir())} <= set(mounts(name))


def _default(found: re.Match[str]) -> str:
    assert found["rest"].startswith(":-"), f"{found[0]} has no default"
    return found["rest"].removeprefix(":-")


def atelier_commands() -> Iterator[tuple[str, ...]]:
    """Every command of the `atelier` program, put together as `worker.cli.main` does."""
    app = typer.Typer()
    app.registered_commands = list(cli.app.registered_commands)
    app.registered_groups = list(cli.app.registered_groups)
    app.registered_callback = cli.app.registered_callback
    for part in (cli_catalog, cli_train, cli_users, cli_web):
        part.add_to(app)
    return _commands_below((), typer.main.get_command(app))


def _commands_below(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
    for name, child in getattr(command, "commands", {}).items():
        yield (*words, name)
        yield from _commands_below((*words, name), child)


def subcommand(words: list[str]) -> tuple[str, ...]:
    """The command's name: the words before the first path, option or interpolation."""
    named = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        named.append(word)
    return tuple(named)


def test_a_command_that_does_not_exist_is_seen() -> None:
    assert ("db", "upgrade") in set(atelier_commands())
    assert ("db", "improve") not in set(atelier_commands())


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_service_runs_a_command_that_exists(name: str) -> None:
    assert "entrypoint" not in OWN[name]
    assert subcommand(OWN[name]["command"]) in set(atelier_commands())


def test_the_image_runs_the_worker_by_default() -> None:
    assert in_final_stage("ENTRYPOINT") == ['["atelier"]']
    assert in_final_stage("CMD") == ['["worker"]']
    assert "atelier" in PROJECT["scripts"]


def test_the_build_checks_the_installation_with_a_command_that_exists() -> None:
    runs = [one.rest for one in STAGES[0] if one.word == "RUN"]
    (checked,) = re.findall(r"/bin/atelier (\w+)$", runs[-1])
    assert (checked,) in set(atelier_commands())


# The Dockerfile


@pytest.mark.parametrize("path", copied())
def test_what_is_copied_exists_and_reaches_the_builder(path: str) -> None:
    assert (ROOT / path).exists(), f"{path} is missing (`uv pip compile` makes the locks)"
    assert is_sent_to_the_builder(path)


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "atelier.egg-info/PKG-INFO",
        "deploy/.env.example",
        "inbox/photo.jpg",
        "runs/a",
        "tagging/__pycache__/a.pyc",
        "tests/b",
    ],
)
def test_what_has_no_business_in_an_image_stays_out(path: str) -> None:
    assert not is_sent_to_the_builder(path)


def test_every_package_of_the_project_is_copied() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())
    include = patterns["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {pattern.rstrip("*") for pattern in include} <= set(copied())
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= set(copied())


def test_the_final_stage_ends_as_a_fixed_user_other_than_root() -> None:
    users = in_final_stage("USER")
    assert users, "the last stage has no USER: it runs as root"
    user, _, group = users[-1].partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000
    assert f"useradd --uid {user} --gid {group} " in " ".join(in_final_stage("RUN"))


def test_the_final_stage_states_how_it_is_stopped_watched_and_kept() -> None:
    assert in_final_stage("STOPSIGNAL") == ["SIGTERM"]
    assert in_final_stage("VOLUME") == ['["/data"]']
    assert len(in_final_stage("HEALTHCHECK")) == 1
    environment = " ".join(in_final_stage("ENV"))
    assert "TF_CPP_MIN_LOG_LEVEL=2" in environment
    assert "ATELIER_HOME=/data" in environment
    assert f'image.licenses="{PROJECT["license"]}"' in in_final_stage("LABEL")[0]
    assert f'image.description="{PROJECT["description"]}"' in in_final_stage("LABEL")[0]


def test_only_locked_packages_are_installed() -> None:
    installs = [
        one.rest
        for stage in STAGES
        for one in stage
        if one.word == "RUN" and re.search(r"\bpip\b.* install ", one.rest)
    ]
    locked, own = installs
    assert "--require-hashes" in locked
    assert {f"{extra}) lock={lock}" for extra, lock in LOCKS.items()} <= {
        arm.strip() for arm in re.split(r" in | ;;", locked)
    }
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(own.split())


@pytest.mark.parametrize("lock", sorted(LOCKS.values()))
def test_a_lock_pins_all_that_the_project_needs_and_builds_with(lock: str) -> None:
    assert (ROOT / lock).is_file(), f"make {lock} with `uv pip compile --generate-hashes`"
    text = (ROOT / lock).read_text()
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE))
    locked = {re.sub(r"[-_.]+", "-", name).lower(): release for name, release in pins.items()}
    (extra,) = (extra for extra, file in LOCKS.items() if file == lock)
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]
    names = {re.split(r"[\[<>=!~; ]", one)[0].lower() for one in wanted}
    assert names <= locked.keys()
    # pyproject.toml builds with setuptools >= 77, and the Dockerfile without build isolation.
    assert int(locked["setuptools"].split(".")[0]) >= 77
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pins)


# The services


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not service.keys() & {"cap_add", "privileged", "network_mode", "pid"}
    assert "ports" not in service or name == "web"
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(entry.split(":")[0] == "/tmp" for entry in service["tmpfs"])
    assert service.get("user", "10001") not in ("root", "0", "0:0")
    assert name in OWN or "user" in service, "without `user`, the image's own may be root"
    assert service["deploy"]["resources"]["limits"].keys() >= {"memory", "pids"}
    assert seconds(service["stop_grace_period"]) > Settings().stop_s + 2


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_every_long_running_service_has_a_health_check_and_comes_back(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= check.keys()
    assert "disable" not in check
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(ONE_SHOT))
def test_a_one_shot_service_runs_once(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    assert SERVICES[name]["healthcheck"] == {"disable": True}


@pytest.mark.parametrize("name", sorted(OWN.keys() - ONE_SHOT))
def test_our_services_wait_for_the_migration_and_the_servers(name: str) -> None:
    after = {other: how["condition"] for other, how in OWN[name]["depends_on"].items()}
    assert after == {
        "migrate": "service_completed_successfully",
        "postgres": "service_healthy",
        "redis": "service_healthy",
    }


def test_the_pages_are_reached_on_the_loopback_alone_and_expect_tls_in_front() -> None:
    web = SERVICES["web"]
    (port,) = web["ports"]
    host, outside, inside = re.fullmatch(r"([\d.]+):\$\{WEB_PORT:-(\d+)\}:(\d+)", port).groups()  # type: ignore[union-attr]
    assert host == "127.0.0.1"
    assert outside == inside
    command = web["command"]
    assert command[command.index("--port") + 1] == inside
    assert "--tls" in command
    # Every other service stays where there is no way in or out.
    assert {name for name in SERVICES if SERVICES[name]["networks"] != ["backend"]} == {"web"}
    assert web["networks"] == ["backend", "frontend"]


def test_the_pages_are_asked_for_their_health_where_they_answer() -> None:
    check = SERVICES["web"]["healthcheck"]
    program = check["test"][-1]
    (asked,) = re.findall(r'"(http://[^"]+)"', program)
    command = SERVICES["web"]["command"]
    assert asked == f"http://127.0.0.1:{command[command.index('--port') + 1]}{health_path()}"
    (timeout,) = re.findall(r"timeout=(\d+)", program)
    assert seconds(check["timeout"]) > float(timeout)
    # What it runs is Python, and fails where nobody answers.
    unused = program.replace("127.0.0.1:8765", "127.0.0.1:1")
    assert (
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", unused], stderr=subprocess.DEVNULL, check=False
        ).returncode
        == 1
    )


def health_path() -> str:
    (route,) = pages_health.router.routes
    assert isinstance(route, Route)
    return route.path


def test_the_broker_forgets_nothing_by_itself_and_keeps_nothing() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly no" in command


def test_the_gpu_worker_and_the_drop_folder_are_optional() -> None:
    optional = {name: one["profiles"] for name, one in SERVICES.items() if "profiles" in one}
    assert optional == {"worker-gpu": ["gpu"], "watch": ["watch"]}


def test_the_gpu_worker_and_no_other_asks_for_one_device() -> None:
    asking = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in SERVICES.items()
        if "reservations" in service["deploy"]["resources"]
    }
    assert list(asking) == ["worker-gpu"]
    (device,) = asking["worker-gpu"]
    assert (device["driver"], device["count"]) == ("nvidia", 1)
    assert "gpu" in device["capabilities"]
    assert {name for name in OWN if OWN[name]["build"]["args"]["EXTRA"] == "gpu"} == set(asking)


# Volumes, networks, secrets


def mounts(name: str) -> dict[str, str]:
    """Where in the container -> the volume or folder that is mounted there."""
    entries = SERVICES[name].get("volumes", [])
    pairs = [
        (entry["source"], entry["target"]) if isinstance(entry, dict) else entry.split(":")[:2]
        for entry in entries
    ]
    return {target: source for source, target in pairs}


def test_volumes_and_networks_that_are_used_are_declared_and_the_reverse() -> None:
    sources = {source for name in SERVICES for source in mounts(name).values()}
    assert {source for source in sources if source[0] not in "./"} == COMPOSE["volumes"].keys()
    networks = {network for service in SERVICES.values() for network in service["networks"]}
    assert networks == COMPOSE["networks"].keys()
    assert COMPOSE["networks"]["backend"]["internal"] is True


def test_what_leaves_the_network_of_the_published_port_gets_no_address_of_the_machine() -> None:
    (outer,) = COMPOSE["networks"].keys() - {"backend"}
    network = COMPOSE["networks"][outer]
    assert network["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    # An address of version 6 would be known outside as it is.
    assert network["enable_ipv6"] is False


def test_workers_and_watch_share_images_and_home() -> None:
    for name in OWN:
        assert mounts(name)["/data"] == "home"
        assert mounts(name)["/images"] == "images"
    assert mounts("watch")["/inbox"] == "./inbox"
    assert subcommand(SERVICES["watch"]["command"]) == ("watch",)
    assert "/inbox" in SERVICES["watch"]["command"]


def test_a_secret_comes_from_the_environment_and_has_no_default() -> None:
    seen = 0
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                seen += 1
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)), f"{name}: {key}={value}"
    assert seen == len(OWN) + 1
    text = (ROOT / "docker-compose.yml").read_text()
    for found in INTERPOLATED.finditer(text):
        if SECRET.search(found["name"]):
            assert found["rest"].startswith(":?"), found[0]
    assert not re.search(r"://[^\s/@]+:[^\s/@]+@", text), "a URL holds a password"


def test_the_example_names_every_variable_with_its_default_and_no_secret() -> None:
    example = (ROOT / "deploy/.env.example").read_text()
    given = dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", example, re.MULTILINE))
    for found in INTERPOLATED.finditer((ROOT / "docker-compose.yml").read_text()):
        default = "" if SECRET.search(found["name"]) else found["rest"].removeprefix(":-")
        assert given.get(found["name"]) == default, found[0]
    assert all(value == "" for key, value in given.items() if SECRET.search(key))


def test_git_ignores_the_secrets_and_the_drop_folder() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert ".env" in ignored or "/.env" in ignored
    assert "/inbox/" in ignored or "inbox/" in ignored


def test_the_licence_is_apache_2_word_for_word() -> None:
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes().lstrip(b"\n")).hexdigest()
    assert digest == "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4"


# deploy/health.py


def load_health() -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", ROOT / "deploy/health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


health = load_health()


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def test_compose_and_image_run_the_same_check_and_give_it_time() -> None:
    (in_image,) = in_final_stage("HEALTHCHECK")
    script = "/opt/atelier/health.py"
    assert f"deploy/health.py {script}" in in_final_stage("COPY")
    for name in OWN.keys() - ONE_SHOT - {"web"}:
        check = SERVICES[name]["healthcheck"]
        words = ", ".join(f'"{word}"' for word in check["test"][1:])
        assert in_image.endswith(f"CMD [{words}]")
        assert f"--timeout={check['timeout']}" in in_image
        assert check["test"][-1] == script
        assert seconds(check["timeout"]) > health.SILENCE_S + 2


def fake_process(proc: Path, pid: int, *words: str, switches: int = 5) -> None:
    task = proc / str(pid) / "task" / str(pid)
    task.mkdir(parents=True, exist_ok=True)
    (proc / str(pid) / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    (task / "status").write_text(f"Name:\tx\nvoluntary_ctxt_switches:\t{switches}\n")
    (task / "stat").write_text(f"{pid} (a b) S" + " 0" * 49)


ATELIER = ("/opt/atelier/bin/python", "/opt/atelier/bin/atelier")


def test_the_check_finds_the_worker_beside_init_and_decoders(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, "/sbin/docker-init", "--", "atelier", "worker")
    fake_process(tmp_path, 7, *ATELIER, "worker")
    fake_process(tmp_path, 20, ATELIER[0], "-m", "tagging.images.decoder", "{}")
    assert health.find_process(tmp_path) == (7, "worker")


def test_the_check_fails_where_nothing_of_ours_runs(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, *ATELIER, "status")
    with pytest.raises(health.Unhealthy, match="no process"):
        health.examine(tmp_path, None)


def test_the_check_fails_for_a_main_thread_that_stands_still(tmp_path: Path) -> None:
    fake_process(tmp_path, 7, *ATELIER, "watch", "/inbox")
    with pytest.raises(health.Unhealthy, match="has not moved"):
        health.examine(tmp_path, None, silence_s=0.3)


def test_the_check_tells_a_stopped_process_from_a_running_one() -> None:
    if sys.platform != "linux":
        pytest.skip("deploy/health.py reads Linux's /proc; it runs inside the image only")
    program = "import time\nwhile True: time.sleep(0.05)"
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", program])
    try:
        health.require_movement(Path("/proc"), child.pid, 5.0)
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)  # until it has stopped
        with pytest.raises(health.Unhealthy, match="has not moved"):
            health.require_movement(Path("/proc"), child.pid, 0.6)
    finally:
        child.kill()
        child.wait()


def test_the_check_tells_a_connected_worker_from_one_that_is_not() -> None:
    if sys.platform != "linux":
        pytest.skip("deploy/health.py reads Linux's /proc; it runs inside the image only")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as another,
        socket.create_connection(another.getsockname()),
    ):
        url = f"redis://:hush@127.0.0.1:{server.getsockname()[1]}/0"
        with pytest.raises(health.Unhealthy, match="no connection") as refused:
            health.require_connection(Path("/proc"), url)
        assert "hush" not in str(refused.value)
        with socket.create_connection(server.getsockname()):
            health.require_connection(Path("/proc"), url)


def test_a_broker_that_is_a_file_needs_no_connection(tmp_path: Path) -> None:
    health.require_connection(tmp_path, "doorbell+sqlite:////data/broker.db")
