"""Everything that `gatepost up` would refuse, and what could not work; nothing is started."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.actions.session import Session
from gatepost.errors import CheckError, OperationError, PreflightError, UsageError
from gatepost.settings import Place, Settings
from gatepost.settings.concerns import DatabaseDriver


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of an inspection, a sentence for each finding."""

    problems: list[str] = field(default_factory=list)
    """Reasons for which `up` would refuse to start."""
    warnings: list[str] = field(default_factory=list)
    """Doubtful things that `up` accepts."""
    now: list[str] = field(default_factory=list)
    """Obstacles to `up` at this moment, which may be gone in the next."""
    unseen: list[str] = field(default_factory=list)
    """Things that this user may not read."""


def files(settings: Settings) -> list[str]:
    """Return what is wrong with the files that settings name."""
    from gatepost.run import certificates, relay  # noqa: PLC0415

    return [
        *certificates.problems(settings),
        *relay.problems(settings),
        *certificates.authority_problems(settings),
    ]


def inspect(session: Session) -> Inspection:
    """Look at the settings, the files that they name, and this machine; nothing is changed."""
    from gatepost.run import certificates, preflight, relay, rights  # noqa: PLC0415

    settings, home = session.settings, session.home
    found = Inspection(warnings=list(settings.warnings))
    found.problems.extend(_files(settings, found))
    try:
        preflight.require_folder(home)
    except PreflightError as error:  # nothing more can be checked
        found.problems.extend(error.problems)
        return found
    if os.geteuid() == 0 and settings.place is not Place.CONTAINER:
        found.problems.extend(map(str, rights.problems(home)))
    found.warnings.extend([*certificates.warnings(settings), *relay.unfound(settings)])
    for look in (_machine, _database, _accounts):
        try:
            look(session, found)
        except CheckError as error:
            found.problems.append(str(error))
        except UsageError as error:
            found.problems.extend(error.problems)
        except OperationError as error:
            found.warnings.append(str(error))
        except PermissionError as error:
            found.unseen.append(f'"{error.filename}"')
    return found


def _files(settings: Settings, found: Inspection) -> Iterator[str]:
    """Yield what is wrong with the named files; one that only root may read is unseen."""
    for problem in files(settings):
        if os.geteuid() != 0 and "cannot be read: Permission denied" in problem:
            found.unseen.append(problem.partition(" cannot be read")[0])
        else:
            yield problem


def _machine(session: Session, found: Inspection) -> None:
    """Look whether this machine can run the plan; raises as `up` does."""
    from gatepost.actions import preparing  # noqa: PLC0415  slow to import
    from gatepost.actions.planning import draft  # noqa: PLC0415
    from gatepost.run import apply, control, preflight  # noqa: PLC0415
    from gatepost.run import files as writing  # noqa: PLC0415

    settings, home = session.settings, session.home
    plan = draft(settings, _unit(settings)).plan
    if os.geteuid() != 0 and home.secrets.is_dir():
        found.unseen.append(f'the server in "{home.root}"')
        return
    found.problems.extend(preflight.unfit(home, plan.topology))
    ours = preparing.processes_of(home, session.ask(control.STATUS))
    found.now.extend(preflight.taken(plan.topology, ours))
    # The checkers ask the tables of accounts, which the first start makes and an update changes.
    if settings.database.db_driver is not DatabaseDriver.SQLITE or not home.database.exists():
        return
    if os.geteuid() != 0:
        found.unseen.append("what the daemons' own checkers say")
        return
    with session.existing() as store:
        if store is None or not store.accounts_are_current():
            return
    with tempfile.TemporaryDirectory(prefix="gatepost-check-") as folder:
        staged = Path(folder)
        staged.chmod(0o755)  # a checker looks as a daemon's user
        writing.write(plan.files, staged)
        for check in plan.checks:
            apply.run_check(check, staged)


def _unit(settings: Settings) -> str | None:
    """Return the unit that this container runs: the one whose programs it has."""
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.run import site  # noqa: PLC0415

    if settings.place is not Place.CONTAINER:
        return None
    programs = {
        name: [p.version_command[0] for p in assembly.of_unit(name) if p.version_command]
        for name in assembly.units()
    }
    here = [name for name, of in programs.items() if of and all(map(site.find_program, of))]
    return here[0] if len(here) == 1 else None


def _database(session: Session, found: Inspection) -> None:
    """Look whether a database server lets us in; raises as `up` does."""
    settings = session.settings
    if settings.database.db_driver is DatabaseDriver.SQLITE:
        return
    if any("DB_TLS_CA_FILE" in problem for problem in found.problems):
        return
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415  slow to import

    from gatepost.accounts.database import database_of  # noqa: PLC0415

    database = database_of(settings)
    engine = database.engine()
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except DatabaseError as error:
        raise database.explain(error) from None
    finally:
        engine.dispose()


def _accounts(session: Session, found: Inspection) -> None:
    """Look whether mailboxes can be told apart from extensions; raises as `up` does."""
    settings = session.settings
    if settings.database.db_driver is DatabaseDriver.SQLITE and os.geteuid() != 0:
        found.unseen.append("the accounts")
        return
    with session.existing() as store:
        if store is not None:
            store.refuse_ambiguous()
            found.problems.extend(store.unusable_tables())
            if store.accounts_are_current():
                mail = settings.mail
                found.warnings.extend(store.unread_roles(mail.mailname, mail.postmaster))


def raise_problems(found: Inspection) -> None:
    """Raise `UsageError` with every problem, when there is one."""
    if found.problems:
        raise UsageError(*dict.fromkeys(found.problems))


def conclusion(settings: Settings, found: Inspection) -> str:
    """Return the last line about settings of which none is refused."""
    count = len(list(settings.values()))
    then = " `gatepost up` cannot start now, as said above." if found.now else ""
    if found.warnings:
        several = "warnings" if found.warnings[1:] else "warning"
        return f"No setting is refused. Look at the {len(found.warnings)} {several} above.{then}"
    if found.unseen:
        return f"Nothing wrong was found by this user. Run it as root to look at the rest.{then}"
    return f"All {count} settings are right.{then}"
