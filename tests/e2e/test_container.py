"""The container image as far as it can be judged without building it, and what is built into the program for it."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import threading

import pytest
import tomllib

from harness import REPO, Server, eventually, free_ports

BINARY = os.environ.get("GREENLANE_BIN") or str(REPO / "target/debug/greenlane")
DOCKERFILE = (REPO / "Dockerfile").read_text()
INSTRUCTIONS = [line for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines() if line and not line.startswith("#")]


def instruction(name: str) -> list[str]:
    return [line.split(" ", 1)[1].strip() for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def greenlane(*arguments: str, **settings: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GREENLANE_")}
    environment |= {f"GREENLANE_{key}": value for key, value in settings.items()}
    return subprocess.run([BINARY, *arguments], env=environment, capture_output=True, text=True, timeout=30)


# --- the Dockerfile -------------------------------------------------------------------------------


def test_hadolint_finds_no_fault_with_the_dockerfile():
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", REPO / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_image_is_empty_but_for_what_it_needs_and_runs_as_nobody():
    assert instruction("FROM")[-1] == "scratch"
    last = INSTRUCTIONS[max(at for at, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")):]
    assert not [line for line in last if line.startswith(("RUN ", "ADD "))]
    assert "USER 65532:65532" in last
    chart = (REPO / "helm/templates/_helpers.tpl").read_text()
    assert "runAsUser: 65532" in chart and "runAsGroup: 65532" in chart
    for line in ('ENTRYPOINT ["greenlane"]', 'CMD ["serve"]', "ENV PATH=/usr/local/bin"):
        assert line in last


def test_the_image_is_built_from_this_source_with_the_compiler_it_asks_for():
    wanted = tomllib.loads((REPO / "Cargo.toml").read_text())["package"]["rust-version"]
    assert instruction("FROM")[0].startswith(f"rust:{wanted}-")
    kept = [line[1:] for line in (REPO / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((REPO / path).exists() for path in kept)
    # What the build reads: sources, and every target that the manifest names.
    manifest = tomllib.loads((REPO / "Cargo.toml").read_text())
    assert {"src", "proto", "build.rs", "Cargo.toml", "Cargo.lock"} <= set(kept)
    assert "benches" in kept or not manifest.get("bench")
    stamp = (REPO / "build.rs").read_text()
    for name in ("GREENLANE_COMMIT", "SOURCE_DATE_EPOCH"):
        assert f'given("{name}")' in stamp and f"{name}=" in " ".join(instruction("ENV"))


def test_the_image_asks_after_its_health_as_the_program_understands_it():
    check = re.search(r"CMD (\[.*\])", instruction("HEALTHCHECK")[0])[1]
    command, subcommand, *flags = eval(check)  # noqa: S307: our own Dockerfile
    assert command == "greenlane"
    assert greenlane(subcommand, *flags, "--help").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="an empty root needs root")
def test_a_program_linked_like_the_images_looks_names_up_in_an_empty_root(tmp_path):
    """A static glibc used to need shared libraries for this: the chart's names and addresses of stores are names."""
    flags = re.search(r'RUSTFLAGS="(-C target-feature=\S+)', DOCKERFILE)[1]
    (tmp_path / "look.rs").write_text(
        'use std::net::ToSocketAddrs;\nfn main() { for name in std::env::args().skip(1) {\n'
        'println!("{}", name.to_socket_addrs().unwrap().next().unwrap()); } }\n')
    subprocess.run(["rustc", *shlex.split(flags), "look.rs", "-o", "look"], cwd=tmp_path, check=True, timeout=120)
    told = subprocess.run(["ldd", tmp_path / "look"], capture_output=True, text=True)
    assert "statically linked" in told.stdout or "not a dynamic" in told.stderr, told
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "look").rename(root / "look")
    (root / "etc/hosts").write_text("10.9.8.7 greenlane.prod.svc\n")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    (tmp_path / "answer.py").write_text(ANSWERING)
    script = (f"ip link set lo up; {sys.executable} answer.py & read -r ready <ready; "
              f"chroot {root} /look greenlane.prod.svc:8080 store.example:5432; kill $!")
    os.mkfifo(tmp_path / "ready")
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "10.9.8.7:8080\n10.1.2.3:5432\n", done.stdout + done.stderr


# A name server that knows one address.
ANSWERING = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 53))
    open("ready", "w").write("ready\\n")
    while True:
        query, peer = server.recvfrom(512)
        end = query.index(b"\\0", 12) + 1
        is_v4 = query[end:end + 2] == b"\\0\\1"
        answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4\\x0a\\1\\2\\3" if is_v4 else b""
        server.sendto(query[:2] + b"\\x81\\x80" + query[4:6] + bytes([0, is_v4]) + bytes(4) + query[12:end + 4] + answer, peer)
"""


# --- greenlane --version --------------------------------------------------------------------------


def test_the_version_names_a_commit_of_this_repository_and_its_instant():
    told = greenlane("--version").stdout.strip()
    version = tomllib.loads((REPO / "Cargo.toml").read_text())["package"]["version"]
    parts = re.fullmatch(r"greenlane (\S+) \(commit ([0-9a-f]{12}|unknown)(?:, (\S+Z))?\)", told)
    assert parts and parts[1] == version, told
    if parts[2] != "unknown" and "SOURCE_DATE_EPOCH" not in os.environ:
        asked = ["git", "-C", REPO, "show", "-s", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", parts[2]]
        of_git = subprocess.run(asked, capture_output=True, text=True, env=os.environ | {"TZ": "UTC"})
        assert of_git.stdout.strip() == parts[3], of_git.stderr


# --- greenlane healthcheck ------------------------------------------------------------------------


def test_healthcheck_tells_live_from_ready_by_its_exit_code(tmp_path):
    with Server(tmp_path).start(wait=False) as server:
        server.wait_for_store()
        eventually(lambda: server.command("healthcheck", "--live").returncode == 0, 20, "live")
        empty = server.command("healthcheck")
        assert empty.returncode == 1 and "/readyz" not in empty.stdout and "503 not ready" in empty.stderr, empty
        assert server.command("healthcheck", "--ready", "--output", "json").stdout.split() == [
            "{", '"answer":', '"503', "not", "ready:", "the", "registry", "is", "loading,", "expired,", "or", 'draining",',
            '"ready":', "false", "}"]
        with server.sql() as sql:
            sql.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from) VALUES "
                        "('1100000001', 'Acme', 'REGULAR', '2020-01-01')")
        server.wait_ready()
        ready = server.command("healthcheck", "--ready")
        assert (ready.returncode, ready.stdout) == (0, "ready\n"), ready
        # As a probe of another machine would, by name, whatever is configured here.
        port = server.http_addr.rsplit(":", 1)[1]
        named = greenlane("healthcheck", "--address", f"localhost:{port}")
        assert named.returncode == 0, named.stderr
        # A server that listens on every address is asked on its own.
        everywhere = greenlane("healthcheck", SERVER__HTTP_ADDR=f"0.0.0.0:{port}", SERVER__ALLOW_ANONYMOUS_REMOTE="true",
                               SERVER__ALLOW_PLAINTEXT_REMOTE="true")
        assert everywhere.returncode == 0, everywhere.stderr
    gone = server.command("healthcheck", "--live")
    assert gone.returncode == 1 and "refused" in gone.stderr, gone


def test_healthcheck_gives_up_on_what_does_not_answer_and_on_what_is_no_http():
    port, = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as server:
        silent = greenlane("healthcheck", "--live", "--timeout", "300ms", "--address", f"127.0.0.1:{port}")
        assert silent.returncode == 1 and "no answer within 300ms" in silent.stderr, silent
        server.accept()[0].close()

        def answer():
            with server.accept()[0] as peer:
                peer.recv(4096)
                peer.sendall(b"SSH-2.0-other\r\n\r\n")

        other = threading.Thread(target=answer)
        other.start()
        told = greenlane("healthcheck", "--live", "--address", f"127.0.0.1:{port}")
        other.join()
        assert told.returncode == 1 and "does not speak HTTP" in told.stderr, told
