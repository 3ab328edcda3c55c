"""Queue files: what a queue's owner writes, in W&B's words and a few of ours, becomes a Queue or a list of problems.

A queue is checked whole when it is applied, so that a submission to it can only fail for what the submission says:
every placeholder is declared, every default keeps its own rules, every macro exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace

from slipway import guardrails, macros
from slipway.builders import read_builder
from slipway.documents import Reader, join, rewrite, split
from slipway.errors import Problem, nearest
from slipway.model import MAX_RESUMES, Failure, Json, Queue, TemplateVariable, Timeouts
from slipway.resources import RESOURCES, read_resource, unwrap
from slipway.spec import ENTITY_LENGTH, QUEUE_LENGTH
from slipway.template import TYPES, VARIABLE_NAME, conform, placeholders

MAX_RETRIES = 10
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_MOST_RESUMES = 1000
"""A preemption costs nobody anything but time: a spot queue may want many, but not without end."""
MODES = {"V0": True, "DISABLED": False}
"""W&B's prioritizationMode, as the flag that it is."""
TYPE_ALIASES = {"float": "number"}

_FIELDS = (
    *("name", "entity", "resource", "resource_args", "config", "template_variables", "overridable_fields"),
    *("max_jobs", "prioritization", "prioritization_mode", "builder", "timeouts", "retries"),
    *("max_resumes", "paused", "secure_mode", "draining", "secrets"),
)
_SCHEMA = ("type", "default", "enum", "minimum", "maximum", "description", "title", "items", "minItems", "maxItems")
_ELEMENT = ("type", "enum", "minimum", "maximum")


def parse_queue(document: Mapping[str, Json], *, entity: str | None = None) -> Queue:
    """A queue file as a Queue. `entity` stands in where it names none.

    Total: any value gives a Queue or Invalid with every problem found. Of a `builder` in the config (where W&B has it)
    and one beside it, the one beside wins, key by key.
    """
    reader = Reader.of(document, _FIELDS)
    if not reader.has("entity") and entity is not None:
        reader.fields = {**reader.fields, "entity": entity}
    resource, config, path = _config(reader)
    owned = {key: value for key, value in config.items() if key != "builder"}
    _check_config(reader, owned, path)
    queue = Queue(
        entity=reader.required("entity", ENTITY_LENGTH, "Name the team or person that the queue belongs to."),
        name=reader.required("name", QUEUE_LENGTH, "Give the queue a name."),
        resource=resource or "",
        config=owned,
        template_variables=_variables(reader),
        overridable_fields=_overridable(reader),
        max_jobs=_max_jobs(reader),
        prioritization=_prioritization(reader),
        builder=_builder(reader, config, path),
        timeouts=_timeouts(reader),
        retries=_retries(reader),
        max_resumes=_max_resumes(reader),
        paused=reader.flag("paused") or False,
        secure_mode=reader.flag("secure_mode") or False,
        secrets=_secrets(reader),
        draining=reader.flag("draining") or False,
    )
    reader.finish()
    return queue


def is_queue_file(document: Mapping[str, Json]) -> bool:
    """Whether it is a queue file of Slipway's, and not the bare config that W&B's app shows: all of its fields are such
    a file's, and the config stands in one of its own."""
    return bool(document.keys() & {"resource_args", "config", "resource"}) and document.keys() <= set(_FIELDS)


def queue_document(queue: Queue) -> dict[str, Json]:
    """The queue file that parses to this Queue again."""
    return {
        "name": queue.name,
        "entity": queue.entity,
        "resource": queue.resource,
        "resource_args": {queue.resource: dict(queue.config)},
        "template_variables": {
            name: {"schema": _schema(variable), "description": variable.description}
            for name, variable in queue.template_variables.items()
        },
        "overridable_fields": list(queue.overridable_fields),
        "max_jobs": queue.max_jobs,
        "prioritization": queue.prioritization,
        "builder": dict(queue.builder),
        "timeouts": asdict(queue.timeouts),
        "retries": dict(queue.retries),
        "max_resumes": queue.max_resumes,
        "paused": queue.paused,
        "secure_mode": queue.secure_mode,
        "secrets": dict(queue.secrets),
        "draining": queue.draining,
    }


def _config(reader: Reader) -> tuple[str | None, Mapping[str, Json], str]:
    """The resource, the bare config, and the config's path in the document."""
    if reader.has("resource_args") and reader.has("config"):
        reader.problem("config", "is given, and resource_args too", fix="They are two words for one thing: remove one.")
    field = "resource_args" if reader.has("resource_args") else "config"
    path, args = field, reader.mapping(field)
    if set(args) == {"resource_args"} and isinstance(args["resource_args"], Mapping):
        path, args = join(path, "resource_args"), args["resource_args"]
    named, config = unwrap(args, path, reader.problems)
    resource = read_resource(reader)
    if resource and named and resource != named:
        reader.problem(field, f"is for {named}, and resource is {resource}", fix="Make them the same.")
    if not (named or reader.has("resource")):
        reader.problem("resource", "is missing", fix=f"It is one of {', '.join(RESOURCES)}.")
    if config is not args:
        path = join(path, next(iter(args)))
    return resource or named, config, path


def _check_config(reader: Reader, config: Mapping[str, Json], path: str) -> None:
    given = reader.fields.get("template_variables")
    declared = given if isinstance(given, Mapping) else {}
    for where, name in placeholders(config, path):
        if name not in declared:
            rule = f"the placeholder {{{{{name}}}}} is not declared in template_variables"
            reader.problems.append(Problem(where, rule, fix=nearest(name, declared)))
    reader.problems.extend(macros.check(config, path))
    reader.problems.extend(_unfilled(config, path))


def _unfilled(config: Json, path: str) -> list[Problem]:
    """The default configs of W&B's app have `<REQUIRED>` where the owner must say something."""
    found: list[Problem] = []

    def look(text: str, where: str) -> str:
        if text.strip().upper() == "<REQUIRED>":
            found.append(Problem(where, "is still the placeholder of W&B's default config", text, "Give it a value."))
        return text

    rewrite(config, look, path)
    return found


def _variables(reader: Reader) -> dict[str, TemplateVariable]:
    """`{name: {schema: {type, ...}, description}}` as in W&B, or `{name: {type, ...}}`."""
    variables = {}
    declared = reader.mapping("template_variables")
    names = Reader(declared, declared, reader.at("template_variables"), reader.problems)
    for name, declaration in declared.items():
        if not VARIABLE_NAME.fullmatch(name):
            names.problem(name, "is not a name: letters, digits and _, the first no digit")
        nested = isinstance(declaration, Mapping) and "schema" in declaration
        outer = names.within(name, ("schema", "description") if nested else _SCHEMA)
        schema = outer.within("schema", _SCHEMA) if nested else outer
        variable = _variable(schema, _words(outer) or _words(schema))
        if variable is not None:
            variables[name] = variable
    return variables


def _variable(schema: Reader, description: str) -> TemplateVariable | None:
    word = schema.text("type")
    kind = TYPE_ALIASES.get(word or "", word)
    if kind not in TYPES:
        if not schema.has("type"):
            schema.problem("type", "is missing", fix=f"It is one of {', '.join(TYPES)}.")
        elif word is not None:
            schema.problem("type", "is not a type", word, nearest(word, TYPES))
        return None
    if kind == "array":
        return _array(schema, description)
    for field in ("items", "minItems", "maxItems"):
        if schema.has(field):
            schema.problem(field, f"is for arrays, and the type is {kind}")
    minimum, maximum = schema.number("minimum"), schema.number("maximum")
    if kind not in ("integer", "number"):
        for field in ("minimum", "maximum"):
            if schema.has(field):
                schema.problem(field, f"is for numbers, and the type is {kind}")
    elif minimum is not None and maximum is not None and minimum > maximum:
        schema.problem("minimum", f"is greater than maximum, {maximum}", minimum)
    return _with_default(schema, TemplateVariable(kind, None, _enum(schema, kind), minimum, maximum, description))


def _array(schema: Reader, description: str) -> TemplateVariable:
    """A list, in JSON Schema's words: `items`, `minItems`, `maxItems`."""
    for field in ("enum", "minimum", "maximum"):
        if schema.has(field):
            schema.problem(field, "is not for arrays", fix="Put it into items, or use minItems and maxItems.")
    items = None
    if schema.has("items"):
        element = schema.within("items", _ELEMENT)
        items = None if element.fields.get("type") == "array" else _variable(element, "")
        if element.fields.get("type") == "array":
            element.problem("type", "is an array within an array")
    minimum, maximum = schema.number("minItems"), schema.number("maxItems")
    if minimum is not None and maximum is not None and minimum > maximum:
        schema.problem("minItems", f"is greater than maxItems, {maximum}", minimum)
    return _with_default(schema, TemplateVariable("array", None, None, minimum, maximum, description, items))


def _with_default(schema: Reader, variable: TemplateVariable) -> TemplateVariable:
    default = schema.fields.get("default")
    if default is None:
        return variable
    default, broken = conform(variable, default)
    for rule in broken:
        schema.problem("default", rule, default)
    return replace(variable, default=default)


def _enum(schema: Reader, kind: str) -> tuple[Json, ...] | None:
    values = schema.fields.get("enum")
    if values is None:
        return None
    if not isinstance(values, list) or not values:
        schema.problem("enum", "must be a list of the allowed values", values)
        return None
    checked = [conform(TemplateVariable(kind), value) for value in values]
    for index, (value, broken) in enumerate(checked):
        for rule in broken:
            schema.problem(f"enum[{index}]", rule, value)
    return tuple(value for value, _ in checked)


def _words(reader: Reader) -> str:
    """What is written for people; a description may have several lines."""
    words = reader.fields.get("description") or reader.fields.get("title") or ""
    if isinstance(words, str):
        return words
    reader.problem("description", "must be text", words)
    return ""


def _overridable(reader: Reader) -> tuple[str, ...]:
    paths = reader.strings("overridable_fields")
    for index, path in enumerate(paths):
        keys = split(path)
        if keys is None:
            fix = r"Write keys with dots between them, and \. for a dot in a key."
            reader.problem(f"overridable_fields[{index}]", "is not a path in the config", path, fix)
        elif keys[0] == "builder":
            reader.problem(f"overridable_fields[{index}]", "opens the builder, which is the queue's alone", path)
    return paths


def _max_jobs(reader: Reader) -> int:
    """1 by default, as W&B's agent."""
    value = reader.fields.get("max_jobs")
    if value is None:
        return 1
    if isinstance(value, int) and not isinstance(value, bool) and (value >= 1 or value == -1):
        return value
    reader.problem("max_jobs", "must be a whole number from 1 up, or -1 for no limit", value)
    return 1


def _prioritization(reader: Reader) -> bool:
    flag, mode = reader.flag("prioritization"), reader.text("prioritization_mode")
    if mode is None:
        return flag or False
    if mode not in MODES:
        reader.problem("prioritization_mode", "is not a mode", mode, nearest(mode, MODES))
        return False
    if flag is not None and flag != MODES[mode]:
        reader.problem(
            "prioritization_mode", f"says otherwise than prioritization, {flag}", mode, "Remove one of them."
        )
    return MODES[mode]


def _builder(reader: Reader, config: Mapping[str, Json], path: str) -> Mapping[str, Json]:
    inside = Reader(config, config, path, reader.problems)
    merged: dict[str, Json] = {}
    for owner in (inside, reader):
        merged |= read_builder(owner.mapping("builder"), owner.at("builder"), reader.problems)
    return merged


def _timeouts(reader: Reader) -> Timeouts:
    names = [each.name for each in fields(Timeouts)]
    timeouts = reader.within("timeouts", names)
    given = {}
    for name in names:
        seconds = timeouts.number(name)
        if seconds is not None and seconds <= 0:
            timeouts.problem(name, "must be more than 0 seconds", seconds)
        elif seconds is not None:
            given[name] = float(seconds)
    return Timeouts(**given)


def _retries(reader: Reader) -> dict[str, int]:
    """Class of failure → how often."""
    names = [str(each) for each in Failure]
    retries = reader.within("retries", names)
    given = {}
    for name in names:
        times = retries.number(name)
        if times is not None and (times != int(times) or not 0 <= times <= MAX_RETRIES):
            retries.problem(name, f"must be a whole number from 0 to {MAX_RETRIES}", times)
        elif times:
            given[name] = int(times)
    return given


def _secrets(reader: Reader) -> dict[str, str]:
    """Variable → the name of its secret. Problems leave values out: someone may have put the secret itself there."""
    given = reader.mapping("secrets")
    secrets = Reader(given, given, reader.at("secrets"), reader.problems)
    found = {}
    for variable, name in given.items():
        if not _VARIABLE.fullmatch(variable):
            secrets.problem(variable, "is not the name of a variable: letters, digits and _, the first no digit")
        elif variable.startswith(guardrails.RESERVED) and variable != "WANDB_API_KEY":
            secrets.problem(variable, "is a variable of W&B's or Slipway's, which say who a run is")
        elif not isinstance(name, str) or not _SECRET.fullmatch(name):
            fix = "Write the name under which Slipway keeps the secret, not the secret."
            secrets.problem(variable, "must be the name of a secret: A-Z, 0-9 and _", fix=fix)
        else:
            found[variable] = name
    return found


def _max_resumes(reader: Reader) -> int:
    times = reader.number("max_resumes")
    if times is None:
        return MAX_RESUMES
    if times == int(times) and 0 <= times <= _MOST_RESUMES:
        return int(times)
    reader.problem("max_resumes", f"must be a whole number from 0 to {_MOST_RESUMES}", times)
    return MAX_RESUMES


def _schema(variable: TemplateVariable) -> dict[str, Json]:
    least, most = ("minItems", "maxItems") if variable.type == "array" else ("minimum", "maximum")
    schema = {
        "type": variable.type,
        "default": variable.default,
        "enum": None if variable.enum is None else list(variable.enum),
        least: variable.minimum,
        most: variable.maximum,
        "items": None if variable.items is None else _schema(variable.items),
    }
    return {word: value for word, value in schema.items() if value is not None}
