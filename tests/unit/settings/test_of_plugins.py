"""Settings that a plug-in brings along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BeforeValidator, SecretStr

from gatepost.errors import SettingsError
from gatepost.settings import Settings, load
from gatepost.settings.concerns import Boolean, Concern
from gatepost.settings.sources import Source

BASE = {"MAILNAME": "mail.example.org"}


class ToySettings(Concern):
    """A toy."""

    toy_bell: Boolean = False
    """Ring a bell."""
    toy_password: Annotated[SecretStr | None, BeforeValidator(lambda text: text)] = None
    """Open the box."""
    toy_name: str = ""
    """Call it so."""

    @classmethod
    def derived(cls, settings: Settings) -> Mapping[str, object]:
        """Return that it is called as the server is."""
        return {"toy_name": settings.mail.mailname}

    def contradictions(self, settings: Settings) -> Iterator[str]:
        """Yield that a bell needs somebody who hears it."""
        if self.toy_bell and settings.mail.mailname == "silent.example.org":
            yield 'TOY_BELL: "true" rings where nobody is.'

    def doubts(self, _settings: Settings) -> Iterator[str]:
        """Yield that a bell is loud."""
        if self.toy_bell:
            yield "TOY_BELL: it is loud."


def loaded(**variables: str) -> Settings:
    return load(BASE | variables, plugins=[ToySettings])


def test_they_are_read_like_all_others() -> None:
    """A plug-in would have to read the environment itself."""
    assert loaded(TOY_BELL="yes").of(ToySettings).toy_bell
    assert not loaded().of(ToySettings).toy_bell
    assert loaded(TOY_BELL="on").value("TOY_BELL") is True


def test_a_mistake_in_them_is_reported_with_all_others() -> None:
    """The administrator would mend one, start, and be told of the next."""
    with pytest.raises(SettingsError) as error:
        loaded(TOY_BELL="loud", MESSAGE_SIZE_LIMIT="big")
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "MESSAGE_SIZE_LIMIT",
        "TOY_BELL",
    ]


def test_a_default_may_depend_on_other_settings() -> None:
    """A plug-in would ask for what is already known."""
    assert loaded().of(ToySettings).toy_name == "mail.example.org"
    assert loaded(TOY_NAME="bell").of(ToySettings).toy_name == "bell"


def test_they_are_checked_together_with_all_others() -> None:
    """Each value would be right by itself, and the server would not work."""
    with pytest.raises(SettingsError) as error:
        loaded(MAILNAME="silent.example.org", TOY_BELL="yes", TLS_CERT_FILE="/a.crt")
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "TLS_CERT_FILE",
        "TOY_BELL",
    ]
    assert loaded(MAILNAME="silent.example.org")


def test_a_doubt_is_a_warning() -> None:
    """A value that is allowed and rarely meant would be taken in silence."""
    assert loaded(TOY_BELL="yes").warnings == ("TOY_BELL: it is loud.",)
    assert not loaded().warnings


def test_config_show_has_them() -> None:
    """Nobody would know of them."""
    rows = {value.name: value for value in loaded(TOY_BELL="yes").values()}
    assert (rows["TOY_BELL"].text, rows["TOY_BELL"].source) == ("true", Source.ENVIRONMENT)
    assert rows["TOY_BELL"].meaning == "Ring a bell."
    assert "TOY_BELL" not in {value.name for value in load(BASE).values()}


def test_their_secrets_are_hidden_and_withheld() -> None:
    """A daemon's user would find a password in its environment."""
    found = loaded(TOY_PASSWORD="s3cr3t")
    assert "s3cr3t" not in repr(found)
    assert all("s3cr3t" not in value.text for value in found.values())
    environ = {"TOY_PASSWORD": "s3cr3t", "TOY_BELL": "yes"}
    found.withhold_secrets(environ)
    assert environ == {"TOY_BELL": "yes"}


def test_their_names_are_known(tmp_path: Path) -> None:
    """A right name would be called a mistake, or a wrong one nothing."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("TOY_BELL=yes\n")
    (doubt,) = load(BASE, dotenv=dotenv, plugins=[ToySettings]).warnings
    assert "no effect" not in doubt
    (warning,) = load(BASE, dotenv=dotenv).warnings
    assert "TOY_BELL" in warning
    (warning,) = loaded(TOY_BEL="yes").warnings
    assert "Did you mean TOY_BELL?" in warning
