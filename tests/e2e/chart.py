"""Renders the Helm chart by Helm's own engine, and runs the pods that it describes as Kubernetes would: the real program,
nobody's user, no capabilities, a read-only root, and files with the modes that a kubelet gives them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess

import helm_python
import yaml
from helm_python import _native

from harness import REPO

CHART = REPO / "helm"
CI = sorted((CHART / "ci").glob("*.values.yaml"))
# The user and group of the pods.
NOBODY = 65532
MONITORING = "monitoring.coreos.com/v1"


class Refused(Exception):
    """Helm refuses the values, in these words."""


def merged(base: dict, over: dict) -> dict:
    """Values laid over one another as Helm does."""
    result = dict(base)
    for key, value in over.items():
        result[key] = merged(result[key], value) if isinstance(value, dict) and isinstance(result.get(key), dict) else value
    return result


def dotted(path: str, value) -> dict:
    """{"a": {"b": value}} of "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def values(name: str, **over) -> dict:
    """The values of `ci/<name>.values.yaml` with others laid over; `a__b=1` is {"a": {"b": 1}}."""
    result = yaml.safe_load((CHART / "ci" / f"{name}.values.yaml").read_text())
    for path, value in over.items():
        result = merged(result, dotted(path.replace("__", "."), value))
    return result


def texts(given: dict, release: str = "demo", namespace: str = "prod") -> dict[str, str]:
    """Every rendered file by its path in the chart."""
    options = {"name": release, "namespace": namespace, "kube_version": "v1.34.0"}
    try:
        with helm_python.Chart.load(str(CHART)) as chart:
            chart.validate_schema(given)
            # The public `render` takes no Kubernetes version.
            rendered = _native.call_string("helm_render", chart._raw(), json.dumps(given), json.dumps(options))
    except helm_python.HelmError as error:
        raise Refused(str(error)) from None
    return {path.removeprefix("greenlane/"): text for path, text in json.loads(rendered).items()}


def render(given: dict, release: str = "demo") -> list[dict]:
    """Every object of a release."""
    files = {path: text for path, text in texts(given, release).items() if not path.endswith("NOTES.txt")}
    return [document for text in files.values() for document in yaml.safe_load_all(text) if document]


def of_kind(objects: list[dict], kind: str, component: str | None = None) -> dict:
    """The only object of a kind, and of a component where there are several."""
    found = [each for each in objects if each["kind"] == kind and component in
             (None, each["metadata"]["labels"]["app.kubernetes.io/component"])]
    assert len(found) == 1, f"{len(found)} of {kind} {component}"
    return found[0]


def pod_templates(objects: list[dict]):
    """Each object that makes pods, with the metadata and the spec of its pods."""
    for each in objects:
        match each["kind"]:
            case "Pod":
                yield each, each["metadata"], each["spec"]
            case "StatefulSet" | "Deployment" | "Job":
                template = each["spec"]["template"]
                yield each, template["metadata"], template["spec"]
            case "CronJob":
                template = each["spec"]["jobTemplate"]["spec"]["template"]
                yield each, template["metadata"], template["spec"]


def configuration(objects: list[dict]) -> str:
    """The rendered greenlane.toml."""
    return of_kind(objects, "ConfigMap", "replica")["data"]["greenlane.toml"]


class Pod:
    """The one container of a pod, run on this machine. Needs root, as a kubelet does.

    `secrets` and `config_maps` are the contents of the cluster's objects by name; what is asked for and not there fails.
    """

    def __init__(self, folder, spec: dict, secrets: dict[str, dict], config_maps: dict[str, dict], binary: str,
                 environment: dict[str, str] | None = None):
        self.root = pathlib.Path(folder) / "root"
        self.spec, self.secrets, self.config_maps = spec, secrets, config_maps
        self.container, = spec["containers"]
        self.binary = binary
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"} | self._environment() | (environment or {})
        self.log = pathlib.Path(folder) / "pod.log"
        self.process: subprocess.Popen | None = None
        self.mounts = {mount["name"]: mount for mount in self.container.get("volumeMounts", [])}
        self._make()

    def _environment(self) -> dict[str, str]:
        result = {}
        for variable in self.container.get("env", []):
            if "value" in variable:
                value = re.sub(r"\$\((\w+)\)", lambda named: result.get(named[1], named[0]), variable["value"])
                result[variable["name"]] = value
            elif field := variable["valueFrom"].get("fieldRef"):
                result[variable["name"]] = {"metadata.name": "greenlane-0"}[field["fieldPath"]]
            else:
                reference = variable["valueFrom"]["secretKeyRef"]
                result[variable["name"]] = self.secrets[reference["name"]][reference["key"]]
        return result

    def _make(self):
        """The root, with the program and what a dynamic build needs; and the volumes."""
        for folder in ("usr/local/bin", "proc", "dev"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "usr/local/bin/greenlane").touch()
        self.libraries = [path for path in ("/lib", "/lib64", "/usr/lib", "/usr/bin", "/bin") if os.path.isdir(path)]
        for path in self.libraries:
            (self.root / path[1:]).mkdir(parents=True, exist_ok=True)
        for volume in self.spec.get("volumes", []):
            if volume["name"] in self.mounts:
                self._fill(volume, self.root / self.mounts[volume["name"]]["mountPath"][1:])
        for name, mount in self.mounts.items():
            if name not in [volume["name"] for volume in self.spec.get("volumes", [])]:
                self._writable(self.root / mount["mountPath"][1:], 0o2775)

    def _fill(self, volume: dict, folder: pathlib.Path):
        match volume:
            case {"emptyDir": _}:
                return self._writable(folder, 0o2777)
            case {"configMap": source}:
                files, mode = dict(self.config_maps[source["name"]]), 0o644
            case {"projected": {"sources": sources, "defaultMode": mode}}:
                files = {}
                for source in sources:
                    (kind, source), = source.items()
                    held = (self.config_maps if kind == "configMap" else self.secrets)[source["name"]]
                    items = source.get("items") or [{"key": key, "path": key} for key in held]
                    files |= {item["path"]: held[item["key"]] for item in items}
            case _:
                raise AssertionError(f"what is {volume}?")
        # As a kubelet lays them: one link in front of all, files of root for the group of fsGroup.
        held = folder / "..2026_11_24"
        for path, text in files.items():
            file = held / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            os.chown(file, 0, NOBODY)
            file.chmod(mode)
            top = path.split("/")[0]
            if not (folder / top).is_symlink():
                (folder / top).symlink_to(f"..data/{top}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "..data").symlink_to(held.name)

    @staticmethod
    def _writable(folder: pathlib.Path, mode: int):
        folder.mkdir(parents=True)
        os.chown(folder, 0, NOBODY)
        folder.chmod(mode)

    def command(self, arguments: list[str]) -> list[str]:
        """The command line that runs the program with these arguments within the pod."""
        security = {**self.spec["securityContext"], **self.container["securityContext"]}
        writable = [self.root / mount["mountPath"][1:] for mount in self.mounts.values() if not mount.get("readOnly")]
        script = [
            "mount --make-rprivate /", f"mount --bind {self.root} {self.root}",
            *(f"mount --bind -o ro {path} {self.root}{path}" for path in self.libraries),
            f"mount --bind -o ro {self.binary} {self.root}/usr/local/bin/greenlane",
            f"mount --rbind /dev {self.root}/dev", f"mount --rbind /proc {self.root}/proc",
            *(f"mount --bind {path} {path}" for path in writable),
            *(["mount -o remount,bind,ro " + str(self.root)] if security["readOnlyRootFilesystem"] else []),
            f'exec chroot {self.root} /usr/bin/setpriv --reuid {security["runAsUser"]} --regid {security["runAsGroup"]} '
            f'--groups {security["fsGroup"]} --bounding-set=-all --inh-caps=-all --no-new-privs '
            f'/usr/bin/env -C {self.container.get("workingDir", "/")} PATH=/usr/local/bin greenlane "$@"']
        return ["unshare", "--mount", "sh", "-ec", "\n".join(script), "sh", *arguments]

    def arguments(self) -> list[str]:
        """The container's arguments, with its variables put in."""
        return [re.sub(r"\$\((\w+)\)", lambda name: self.environment[name[1]], argument)
                for argument in self.container["args"]]

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Runs the container to its end, or another command of the program within it (`kubectl exec`)."""
        return subprocess.run(self.command(list(arguments) or self.arguments()), env=self.environment, text=True,
                              capture_output=True, timeout=60, **options)

    def __enter__(self) -> "Pod":
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(self.arguments()), env=self.environment,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
