"""The languages of configurations, read as the daemons do: each file says what was meant, only.

Used by tests and by the fuzzing: a value that a template printed must come back as that value, and
no value may bring a setting, a service or a key of its own into a file.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath

import yaml
from rendered import CASES, RENDERED, render

from gatepost.model import Address, Plan, RenderedFile
from gatepost.settings import Settings
from gatepost.settings.concerns import DatabaseDriver

Setting = tuple[str, str]
"""A setting's name, with the sections that it is in, and its value."""


def postfix(text: str) -> Iterator[Setting]:
    """Read main.cf and the files of look-ups: postconf(5), "general syntax"."""
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    for line in lines:
        name, equals, value = line.partition("=")
        assert equals, f"no setting: {line!r}"
        yield name.strip(), value.strip()


def postfix_services(text: str) -> Iterator[Setting]:
    """Read master.cf: each service's name with its type, and the names of what it sets."""
    service = ""
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            option, setting = line.split()
            assert option == "-o", f"no option of {service}: {line!r}"
            yield service, setting
            continue
        name, kind, *rest = line.split()
        assert len(rest) >= 6, f"no service: {line!r}"
        service = f"{kind} {name}"
        yield service, " ".join(rest)


def dovecot(text: str) -> Iterator[Setting]:
    """Read a file of Dovecot's: sections in braces, values in quotes, comments from ``#`` on."""
    sections: list[str] = []
    for line in text.split("\n"):
        words = _without_comment(line).strip()
        if not words or words.startswith("!include"):
            continue
        if words == "}":
            sections.pop()
        elif words.endswith("{"):
            sections.append(words.removesuffix("{").strip())
        else:
            name, equals, value = words.partition("=")
            assert equals, f"no setting: {line!r}"
            yield "/".join([*sections, name.strip()]), _unquoted(value.strip())
    assert not sections, f"{sections} are left open"


def _without_comment(line: str) -> str:
    quoted = False
    before = ""
    for place, character in enumerate(line):
        if character == '"' and before != "\\":
            quoted = not quoted
        elif character == "#" and not quoted:
            return line[:place]
        before = "" if before == "\\" else character
    return line


def _unquoted(value: str) -> str:
    if len(value) < 2 or not value[0] == value[-1] == '"':
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1])


# --- what may stand there ---------------------------------------------------------------------


def _read(path: PurePosixPath, text: str) -> Iterator[Setting]:
    """Read a file in its own language; what is no configuration has no settings."""
    if path.parts[0] == "postfix":
        if path.name == "master.cf":
            yield from postfix_services(text)
        elif path.suffix == ".cf":
            yield from postfix(text)
    elif path.parts[0] == "dovecot" and path.suffix in {".conf", ".ext"}:
        yield from dovecot(text)


def _kind(path: PurePosixPath, setting: Setting) -> str:
    """Tell a setting without what may differ from one installation to the next."""
    name, value = setting
    if path.name == "master.cf":
        kind, _, own = name.partition(" ")
        name = kind if kind == "inet" else name
        value = re.sub(r"(\.\./)+\S+/smtpd$", "SMTPD", value)
        value = value.partition("=")[0] if "=" in value else re.sub(r"\d+", "N", value)
        return f"{path}: {name}: {value if own else ''}"
    return f"{path}: {re.sub('^pgsql [^ /]+', 'pgsql HOST', name)}"


@cache
def _known() -> frozenset[str]:
    """Return every kind of setting in the cases that people look at."""
    return frozenset(
        _kind(file.path, setting)
        for case in CASES
        for file in render(RENDERED / case)
        for setting in _read(file.path, file.content)
    )


@cache
def _marks() -> frozenset[str]:
    """Return the parameters that main.cf refers to."""
    files = {str(file.path): file.content for file in render(RENDERED / "reference")}
    return frozenset(_referred(files["postfix/main.cf"]))


def _referred(text: str) -> list[str]:
    return re.findall(r"\$[{(]?(\w*)", text)


def check(settings: Settings, plan: Plan) -> None:
    """See that every file of a plan says what the settings mean, and nothing else."""
    found: dict[str, dict[str, str]] = {}
    for file in plan.files:
        assert "\0" not in file.content
        read = list(_read(file.path, file.content))
        for setting in read:
            assert _kind(file.path, setting) in _known(), f"{file.path} has {setting}"
        found[str(file.path)] = dict(read)
        if file.path.name not in {"master.cf", "listeners.conf"}:
            twice = Counter(name for name, _ in read) - Counter(found[str(file.path)].keys())
            # Dovecot 2.3 asks one passdb after the other, and gives them no names.
            extra = set(twice) - {"passdb/driver", "passdb/args"}
            assert not extra, f"{file.path}: a setting stands twice: {extra}"
    _postfix_says(settings, found["postfix/main.cf"])
    _dovecot_says(settings, found)
    _addresses(plan)
    _password(settings, found)
    for file in plan.files:
        if file.path.parts[0] == "traefik":
            _traefik(plan, file)
        elif file.path.parts[0] == "gate":
            _gate(settings, file)
        elif file.mode & 0o100:
            shlex.split(file.content.partition("<<EOF")[0], comments=True)


def _postfix_says(settings: Settings, said: dict[str, str]) -> None:
    mail = settings.mail
    networks = [word.translate({ord(c): None for c in "[]"}) for word in _list(said["mynetworks"])]
    assert tuple(map(ipaddress.ip_network, networks)) == mail.mynetworks
    assert said["myhostname"] == mail.mailname
    assert said["recipient_delimiter"] == ""
    assert said["message_size_limit"] == str(mail.message_size_limit)
    assert said.get("relayhost", "") == (mail.relayhost or "")
    assert said["queue_directory"] == str(settings.storage.gatepost_home / "queue")
    assert said["smtpd_tls_chain_files"] == "$config_directory/tls.pem"
    for name, value in said.items():
        assert _marks().issuperset(_referred(value)), f"{name} = {value}"


def _list(value: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", value) if word]


def _dovecot_says(settings: Settings, found: dict[str, dict[str, str]]) -> None:
    mail = settings.mail
    assert found["dovecot/dovecot.conf"]["hostname"] == mail.mailname
    assert found["dovecot/dovecot.conf"]["postmaster_address"] == mail.postmaster
    assert found["dovecot/delivery.conf"]["recipient_delimiter"] == ""
    home = f"'{settings.storage.gatepost_home / 'mail'}/' || account.folder AS home"
    queries = [value for values in found.values() for value in values.values() if home in value]
    assert len(queries) == 1, found.keys()
    trusted = found["dovecot/listeners.conf"].get("haproxy_trusted_networks", "")
    networks = tuple(map(ipaddress.ip_network, trusted.split()))
    assert networks == settings.proxy.trusted_proxies


def _addresses(plan: Plan) -> None:
    """See that Postfix and Dovecot listen where the topology has it, and nowhere else."""
    content = {str(file.path): file.content for file in plan.files}
    services = {name for name, _ in postfix_services(content["postfix/master.cf"])}
    listens = {name.partition(" ")[2] for name in services if name.startswith("inet ")}
    bound = plan.topology.of("postfix")
    wanted = {str(a) for b in bound for a in (*b.internal, *(() if b.proxied else b.service))}
    assert listens == wanted, f"{listens} instead of {wanted}"
    hosts = {a.host for b in plan.topology.listeners for a in (*b.service, *b.internal)}
    ends = (end for offered in plan.topology.offers.values() for end in offered)
    hosts |= {end.host for end in ends if isinstance(end, Address)}
    for name, value in dovecot(content["dovecot/listeners.conf"]):
        if name.endswith("/address"):
            assert set(_list(value)) <= hosts, f"{name} = {value}"


def _password(settings: Settings, found: dict[str, dict[str, str]]) -> None:
    """See that the password of the database is read as it was set, and stands nowhere else."""
    database = settings.database
    if database.db_driver is not DatabaseDriver.PGSQL or not database.db_password:
        return
    password = database.db_password.get_secret_value()
    assert found["postfix/recipients.cf"]["password"] == password
    for name, value in found.get("dovecot/sql.conf", {}).items():
        if name.endswith("parameters/password"):
            assert value.replace("%%{", "%{") == password


def _traefik(plan: Plan, file: RenderedFile) -> None:
    read = yaml.safe_load(file.content)
    listeners = plan.topology.listeners
    if file.path.name == "traefik.yaml":
        assert read.keys() == {"global", "log", "entryPoints", "providers"}
        at = {point["address"] for point in read["entryPoints"].values()}
        public = {str(address) for bound in listeners for address in bound.public}
        assert at == public or all(address.startswith(":") for address in at)
        return
    assert read.keys() == {"tcp"}
    assert read["tcp"].keys() == {"routers", "services", "serversTransports"}
    servers = {
        server["address"]
        for service in read["tcp"]["services"].values()
        for server in service["loadBalancer"]["servers"]
    }
    assert servers == {str(bound.service[0].reachable) for bound in listeners}


def _gate(settings: Settings, file: RenderedFile) -> None:
    read = json.loads(file.content)
    assert read["hostname"] == settings.mail.mailname
    trusted = tuple(map(ipaddress.ip_network, read["trusted"]))
    assert trusted == settings.proxy.trusted_proxies
