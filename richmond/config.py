"""The ini -> frozen Settings, or a ConfigError with everything that is wrong with it.

`config_text` reads lines, `config_checks` single values, this file sections, `config_rules` what they say together.
Reads the ini and the files that it names; writes nothing.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from configobj import ConfigObj, Section
from configobj.validate import ValidateError, Validator

from richmond.config_checks import CHECKS, TAKES_EMPTY, nearest, variables
from richmond.config_describe import describe, key_of
from richmond.config_rules import clashes
from richmond.config_text import IniText, Problem, read
from richmond.errors import ConfigError
from richmond.settings import (
    DEFAULT_ACCOUNT,
    AmqpSettings,
    EnvironmentFile,
    OtelSettings,
    RabbitmqSettings,
    RichmondSettings,
    Settings,
    SimulatorSettings,
    SsmiSettings,
    WebSettings,
    WorkerSettings,
)

__all__ = ["SHORT_NAMES", "class_path", "describe", "key_of", "known_keys", "load"]

SHORT_NAMES = {
    "EchoWorker": "richmond.workers.ussd.EchoWorker",
    "FooBarWorker": "richmond.workers.example.FooBarWorker",
    "SMSEchoWorker": "richmond.workers.example.SMSEchoWorker",
}

_SPEC = Path(__file__).with_name("richmond.configspec")
_SECTIONS = ("richmond", "ssmi", "amqp", "rabbitmq", "simulator", "web", "otel")
_WORKER = "__many__"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_SOCKET_BYTES = 107  # sun_path, less its NUL: unix(7)

_T = TypeVar("_T")


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read and check the ini. ConfigError names file, line, section and key of all that is wrong, and what is valid."""
    text = read(path, environ)
    if text.problems and not text.conf:
        raise ConfigError([problem.render(path) for problem in text.problems])
    settings = _Loader(path, text).settings()
    if text.problems:
        problems = sorted(text.problems, key=lambda problem: problem.line or 1 << 30)
        raise ConfigError(list(dict.fromkeys(problem.render(path) for problem in problems)))
    return settings


def load_anyhow(path: Path, environ: Mapping[str, str]) -> Settings:
    """As much as can be understood, for a command that only has to find the running master: an ini with a mistake in
    it must not keep anybody from `status` or `stop`. ConfigError if there is no file to read."""
    text = read(path, environ)
    if text.problems and not text.conf:
        raise ConfigError([problem.render(path) for problem in text.problems])
    return _Loader(path, text).settings()


def class_path(name: str) -> str:
    """The dotted path of a class that the ini or the command line names, perhaps by its short name."""
    return SHORT_NAMES.get(name, name)


def known_keys() -> dict[str, tuple[str, ...]]:
    """Section -> its keys; those of a worker's section under `worker:NAME`."""
    spec = _spec()
    return {"worker:NAME" if name == _WORKER else name: tuple(spec[name].scalars) for name in spec.sections}


def _spec() -> ConfigObj:
    return ConfigObj(str(_SPEC), interpolation=False, list_values=False, _inspec=True, encoding="utf-8")


class _Loader:
    """One reading of one ini. What is wrong goes to `text.problems`, and the default stands in for it meanwhile."""

    def __init__(self, path: Path, text: IniText) -> None:
        self._path = path
        self._base = path.parent.resolve()
        self._text = text
        self._conf = text.conf
        self._spec = _spec()
        self._validator = Validator(dict(CHECKS))

    def settings(self) -> Settings:
        for key in self._conf.scalars:
            self._wrong("stands before the first section; put it below one", "", key)
        account_names, worker_names = self._names()
        installation = self._richmond()
        accounts = tuple(self._account(name) for name in account_names)
        amqp = self._amqp()
        rabbitmq = self._rabbitmq(amqp, installation)
        settings = Settings(
            path=self._base / self._path.name,
            richmond=installation,
            accounts=accounts,
            amqp=amqp,
            rabbitmq=rabbitmq,
            simulator=self._simulator(installation, accounts),
            workers=tuple(self._worker(name, amqp, accounts[0]) for name in worker_names),
            web=self._web(installation),
            otel=_build(OtelSettings, self._values("otel")),
        )
        if not settings.workers and not self._text.problems:
            self._wrong("has no worker class; add e.g. the lines `[worker:EchoWorker]` and `workers = 2`", "", "")
        for clash in clashes(settings):
            self._wrong(*clash)
        return settings

    # One section each

    def _richmond(self) -> RichmondSettings:
        values = self._values("richmond")
        directory = self._resolve(values["directory"])
        stderr = values["log"] == "stderr"
        values |= {
            "directory": directory,
            "workers-path": self._resolve(values["workers-path"]),
            "log": None if stderr else self._resolve(values["log"] or directory / "richmond.log"),
            "pid-file": self._resolve(values["pid-file"] or directory / "richmond.pid"),
            "socket": self._socket("richmond", values["socket"] or directory / "richmond.sock"),
        }
        if stderr and values["log-files"] == "per-class":
            text = "per-class, but log = stderr; name a file in log, or set log-files = one"
            self._wrong(text, "richmond", "log-files")
        return _build(RichmondSettings, values)

    def _account(self, name: str) -> SsmiSettings:
        section = "ssmi" if name == DEFAULT_ACCOUNT else f"ssmi:{name}"
        values = self._values(section) | {"name": name}
        values["password"] = self._password(section, values)
        if "," in values["username"]:
            self._wrong("holds a comma, which SSMI cannot carry", section, "username")
        if values["reconnect-min"] > values["reconnect-max"]:
            text = f"{values['reconnect-min']:g} is above reconnect-max = {values['reconnect-max']:g}; lower it"
            self._wrong(text, section, "reconnect-min")
        return _build(SsmiSettings, values)

    def _amqp(self) -> AmqpSettings:
        values = self._values("amqp")
        values["password"] = self._password("amqp", values)
        values["port"] = values["port"] or (5671 if values["tls"] else 5672)
        for key in ("tls-ca", "tls-cert", "tls-key"):
            if values[key] is None:
                continue
            values[key] = self._resolve(values[key])
            if not values["tls"]:
                self._wrong("is set, but tls = no; set tls = yes or leave it out", "amqp", key)
            elif not os.access(values[key], os.R_OK):
                self._wrong(f"{values[key]} cannot be read; name a PEM file that can", "amqp", key)
        if (values["tls-cert"] is None) != (values["tls-key"] is None):
            self._wrong("tls-cert and tls-key go together; set both or neither", "amqp", "tls-cert")
        return _build(AmqpSettings, values)

    def _rabbitmq(self, amqp: AmqpSettings, installation: RichmondSettings) -> RabbitmqSettings:
        values = self._values("rabbitmq")
        if values["private"] == "no" and not amqp.host:
            text = "no, but [amqp] host is empty; set [amqp] host, or private = auto"
            self._wrong(text, "rabbitmq", "private")
        values["private"] = values["private"] == "yes" or (values["private"] == "auto" and not amqp.host)
        return _build(RabbitmqSettings, values)

    def _simulator(self, installation: RichmondSettings, accounts: Sequence[SsmiSettings]) -> SimulatorSettings:
        first, *others = accounts
        values = self._values("simulator")
        if "," in values["username"]:
            self._wrong("holds a comma, which SSMI cannot carry", "simulator", "username")
        if installation.broker and values["enabled"] == "no" and not first.host:
            host = f"[{first.section}] host"
            text = f"no, but {host} is empty; set {host}, or enabled = auto, or [richmond] broker = no"
            self._wrong(text, "simulator", "enabled")
        values["enabled"] = installation.broker and (
            values["enabled"] == "yes" or (values["enabled"] == "auto" and not first.host)
        )
        for account in others if values["enabled"] else accounts:
            if installation.broker and account.host and not account.username:
                self._wrong(f"is needed to log in to [{account.section}] host; set it", account.section, "username")
        logins = {values["username"]: first.section}
        for account in others:
            if not installation.broker or account.host:
                continue
            if not values["enabled"]:
                self._wrong("is empty; name the gateway", account.section, "host")
            login = account.username or account.name
            if login in logins:
                text = f"is {login} at the simulator, as that of [{logins[login]}]: they would push each other out"
                self._wrong(text, account.section, "username")
            logins[login] = account.section
        values["socket"] = self._socket("simulator", values["socket"] or installation.directory / "simulator.sock")
        return _build(SimulatorSettings, values)

    def _web(self, installation: RichmondSettings) -> WebSettings:
        values = self._values("web")
        values["token-file"] = self._resolve(values["token-file"] or installation.directory / "web.token")
        return _build(WebSettings, values)

    def _worker(self, name: str, amqp: AmqpSettings, ssmi: SsmiSettings) -> WorkerSettings:
        section = f"worker:{name}"
        values = self._values(section)
        values["name"] = name
        values["class"] = self._class(section, name, values["class"])
        low, high = values["min"], values["max"]
        if low is not None and high is not None and low > high:
            self._wrong(f"{high} is below min = {low}; raise max or lower min", section, "max")
            low = high
        if values["workers"] is None:
            values["workers"] = max(1, low or 0) if high is None else min(max(1, low or 0), high)
        workers = values["workers"]
        values["min"], values["max"] = workers if low is None else low, workers if high is None else high
        if not values["min"] <= workers <= values["max"]:
            text = f"{workers} is outside min = {values['min']} to max = {values['max']}; change it or them"
            self._wrong(text, section, "workers")
        if 0 < values["max-memory-hard"] <= values["max-memory"]:
            text = f"{values['max-memory-hard']} is not above max-memory = {values['max-memory']}"
            self._wrong(f"{text}; raise it or lower the other", section, "max-memory-hard")
        if values["codes"] or values["short-codes"] or values["keywords"] or values["sms"]:
            values["queue"] = values["queue"] or f"{amqp.receive_queue}.{name}"
            values["routing-key"] = f"{amqp.receive_routing_key}.{name}"
        else:
            if values["queue"] not in (None, amqp.receive_queue):
                text = "a class without codes has [amqp] receive-queue; set codes here, or the name there"
                self._wrong(text, section, "queue")
            values["queue"], values["routing-key"] = amqp.receive_queue, amqp.receive_routing_key
        if values["apology"] is None:
            values["apology"] = ssmi.apology
        if values["more-text"] is None:
            values["more-text"] = f"{values['more-option']} More"
        values["environment-file"] = self._environment_file(section, values["environment-file"])
        if values["user"] and not _is_user(values["user"]):
            self._wrong(f"{values['user']} is no user of this host; create it, or leave it out", section, "user")
        values["environment"] = MappingProxyType(values["environment"] | self._subsection(section, "environment"))
        values["options"] = MappingProxyType(values["options"] | self._subsection(section, "options"))
        return _build(WorkerSettings, values)

    # Reading values

    def _values(self, section: str) -> dict[str, Any]:
        """The section's keys, checked, with their defaults; a worker's own keys below `options`."""
        worker = section.startswith("worker:")
        spec = self._spec[_WORKER if worker else section.partition(":")[0]]
        found = self._conf.get(section, {})
        given: dict[str, str] = {key: found[key] for key in getattr(found, "scalars", ())}
        values: dict[str, Any] = {}
        for key in spec.scalars:
            check = spec[key]
            text = given.pop(key, None)
            if text == "" and check.partition("(")[0] not in TAKES_EMPTY:
                text = None
            try:
                values[key] = self._validator.check(check, text, missing=text is None)
            except ValidateError as e:
                self._wrong(str(e), section, key)
                values[key] = self._validator.check(check, None, missing=True)
        values["options"] = self._own_keys(section, given, spec.scalars) if worker else {}
        if not worker:
            self._unknown_keys(section, given, spec.scalars)
        for name in getattr(found, "sections", ()):
            if not worker or name not in ("environment", "options"):
                text = "is unknown" + ("; valid are [[environment]] and [[options]]" if worker else "; take it out")
                self._wrong(f"[[{name}]] {text}", section)
        return values

    def _unknown_keys(self, section: str, given: Iterable[str], known: list[str]) -> None:
        for key in given:
            near = nearest(key, known)
            text = f"did you mean {near}?" if near else f"valid are {', '.join(known)}"
            self._wrong(f"is an unknown key; {text}", section, key)

    def _own_keys(self, section: str, given: dict[str, str], known: list[str]) -> dict[str, str]:
        for key in given:
            near = nearest(key, known)
            if near:
                text = f"is an unknown key; did you mean {near}? If it is the class's own, put it below [[options]]"
                self._wrong(text, section, key)
        return given

    def _subsection(self, section: str, name: str) -> dict[str, str]:
        found = self._conf.get(section, {}).get(name)
        if not isinstance(found, Section):
            return {}
        for deeper in found.sections:
            self._wrong(f"[[[{deeper}]]] is unknown; take it out", f"{section} {name}")
        return {key: found[key] for key in found.scalars}

    def _names(self) -> tuple[list[str], list[str]]:
        """Of the accounts, [ssmi] first, and of the worker classes, in the order of the ini."""
        accounts: list[str] = []
        workers: list[str] = []
        for section in self._conf.sections:
            kind, colon, name = section.partition(":")
            if section in _SECTIONS:
                continue
            if colon and kind in ("ssmi", "worker"):
                what, example = ("an account", "second") if kind == "ssmi" else ("a worker class", "EchoWorker")
                if not _NAME.fullmatch(name):
                    text = f"valid is a letter and up to 63 letters, digits, -, _ and ., e.g. [{kind}:{example}]"
                    self._wrong(f"{name!r} is not a name for {what}; {text}", section)
                elif kind == "ssmi" and (name in ("sms", DEFAULT_ACCOUNT) or name.endswith(".sms")):
                    own = name == DEFAULT_ACCOUNT
                    why = "is that of [ssmi] itself" if own else "would have a queue for SMS as its own"
                    self._wrong(f"the name {name} {why}; choose another, e.g. [ssmi:second]", section)
                else:
                    (accounts if kind == "ssmi" else workers).append(name)
            else:
                near = nearest(kind if colon else section, [*_SECTIONS, "worker"])
                named = near == "worker" or (near == "ssmi" and colon)
                hint = f"did you mean [{near}{':' + (name or 'NAME') if named else ''}]?" if near else ""
                valid = f"valid are {', '.join(f'[{known}]' for known in _SECTIONS)}, [ssmi:NAME] and [worker:NAME]"
                self._wrong(f"is an unknown section; {hint or valid}", section)
        if "ssmi" in self._conf.sections or not accounts:
            accounts.insert(0, DEFAULT_ACCOUNT)
        return accounts, workers

    def _class(self, section: str, name: str, given: str | None) -> str:
        path = class_path(given or name)
        if not _CLASS.fullmatch(path):
            valid = f"a dotted path, e.g. shop.ShopWorker, or one of {', '.join(SHORT_NAMES)}"
            self._wrong(f"{path} is no class; valid is {valid}", section, "class")
        return path

    def _password(self, section: str, values: dict[str, Any]) -> str:
        name = values.pop("password-file")
        if name is None:
            return str(values["password"])
        if "password" in self._conf.get(section, {}):
            self._wrong("is set, and so is password; leave one of them out", section, "password-file")
        path = self._resolve(name)
        try:
            return path.read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as e:
            why = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
            self._wrong(f"{path} cannot be read: {why}; name a file with the password in it", section, "password-file")
            return ""

    def _environment_file(self, section: str, name: str | None) -> EnvironmentFile | None:
        if name is None:
            return None
        path = self._resolve(name)
        try:
            return EnvironmentFile(path, MappingProxyType(variables(path.read_text("utf-8"))))
        except (OSError, ValueError) as e:
            why = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        except ValidateError as e:
            why = str(e)
        text = f"{path} cannot be used: {why}; name a file with NAME=VALUE on each line"
        self._wrong(text, section, "environment-file")
        return None

    def _socket(self, section: str, value: str | Path) -> Path:
        path = self._resolve(value)
        length = len(os.fsencode(path))
        if length > _SOCKET_BYTES:
            text = f"{path} has {length} bytes, and a Unix socket's path at most {_SOCKET_BYTES}"
            name = "richmond" if section == "richmond" else "richmond-simulator"
            self._wrong(f"{text}; set [{section}] socket to a shorter path, e.g. /run/{name}.sock", section, "socket")
        return path

    def _resolve(self, value: str | Path) -> Path:
        """Relative paths are relative to the directory of the ini."""
        return Path(os.path.normpath(self._base / Path(value).expanduser()))

    def _wrong(self, text: str, section: str, key: str = "") -> None:
        lines = self._text.lines
        where = (*section.split(" "), key) if key and section else (section or key,)
        line = lines.get(where) or lines.get((section,)) or 0
        if not key or not any(known.section == section and known.key == key for known in self._text.problems):
            self._text.problems.append(Problem(text, line, section, key))  # a second one would be noise


def _build(settings: type[_T], values: Mapping[str, Any]) -> _T:
    return settings(**{f.name: values[key_of(f.name)] for f in fields(settings)})  # type: ignore[arg-type]


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
