"""The options of a config's own parts, as the types that their sources say."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields.options import Options, typed
from fieldtrial.fields.values import format_value
from fieldtrial.own.names import kind_of
from fieldtrial.own.project import roots
from fieldtrial.own.signature import Option, Signature, read

Signatures = Mapping[str, Mapping[str, Signature]]  # by kind, and by the part's name


def with_types(
    config: TrainConfig, searched: Collection[str] = (), requires: bool = True
) -> TrainConfig:
    """Return the config with its options as the types that its own parts take.

    The sources of the parts are read, and not run.

    searched: options that a search gives values to. requires: whether all that must be given are.

    Raises:
        ConfigError: a part is not found, or cannot be called; it takes no such option, or one of
            another type; one that it needs is missing; all at once.
    """
    if not config.own_parts:
        return config
    signatures, problems = _read(config)
    values = dict[str, Any]()
    for name, value in config.options.items():
        try:
            values[name] = typed(value, option_of(name, signatures).hint)
        except ValueError as error:
            problems.append(f"{name} = {value!r}: {error}")
    given = {*config.options, *searched}
    for kind, parts in signatures.items() if requires else ():
        problems += [
            f"{kind}.{name}: {part} needs it"
            for part, signature in parts.items()
            for name, option in signature.options.items()
            if option.is_required and f"{kind}.{name}" not in given
        ]
    if problems:
        raise ConfigError(problems)
    return replace(config, options=Options(values))


def option_of(name: str, signatures: Signatures) -> Option:
    """Return what is known of an option. Raises ValueError where no own part takes it."""
    kind, _, option = name.partition(".")
    parts = signatures.get(kind, {})
    for signature in parts.values():
        if option in signature.options:
            return signature.options[option]
    if not parts or any(signature.takes_any for signature in parts.values()):
        return Option(None, False)  # a part that is not found has a line of its own
    texts = [f"{part} takes {_listed(signature)}" for part, signature in parts.items()]
    raise ValueError(f"unknown option; {'; '.join(texts)}")


def type_of(name: str, config: TrainConfig) -> Any:
    """Return the type of an option of the config's own parts, None where they say none.

    Raises:
        ConfigError: an own part is not found, or cannot be called.
        ValueError: none takes the option.
    """
    signatures, problems = _read(config)
    if problems:
        raise ConfigError(problems)
    if (kind := kind_of(name)) not in signatures:
        part = format_value(getattr(config, kind))
        raise ValueError(f"has no effect: {kind} = {part} takes no options")
    return option_of(name, signatures).hint


def _read(config: TrainConfig) -> tuple[dict[str, dict[str, Signature]], list[str]]:
    """Return what the own parts take, and a line for each that cannot be read."""
    found: dict[str, dict[str, Signature]] = {}
    problems = []
    for kind, names in config.own_parts.items():
        for name in names:
            try:
                found.setdefault(kind, {})[name] = read(kind, name, roots())
            except ValueError as error:
                problems.append(f"{kind} = {name!r}: {error}")
    return found, problems


def _listed(signature: Signature) -> str:
    return ", ".join(signature.options) or "none"
