r"""From a queue's config and a submission to the resource args of one item, refused with every reason.

W&B fills templates on its server, whose rule is not published: here a string that is nothing but `{{x}}` becomes the
value with its type, any other placeholder becomes text in its string. Submitters set template variables within their
limits, and the fields that the queue lists in `overridable_fields` (dots between keys, `\.` for a dot in a key); all
else is the queue's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from slipway import guardrails, macros
from slipway.documents import is_number, join, refuse, rewrite, split
from slipway.errors import Invalid, Problem, nearest
from slipway.model import ImageSource, Json, Queue, Submission, TemplateVariable

TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
}
VARIABLE_NAME = re.compile(r"[^\W\d]\w*")

_PLACEHOLDER = re.compile(r"\{\{\s*([^\W\d]\w*)\s*\}\}")


def resolve(queue: Queue, submission: Submission) -> dict[str, Json]:
    """The queue's config with this submission's template variables and overrides; macros still in place.

    Raises Invalid with every problem: another resource, variables, fields that are not open, guardrails, macros.
    """
    values, problems = check_variables(queue.template_variables, submission.template_variables)
    config = dict(queue.config)
    if not problems:
        try:
            config = fill(config, values, "resource_args")
        except Invalid as refusal:
            problems += refusal.problems
    if submission.resource and submission.resource != queue.resource:
        rule = f"is not the resource of queue '{queue.key}', which is {queue.resource}"
        problems.append(Problem("resource", rule, submission.resource, "Leave it out, or choose another queue."))
    elif queue.resource == "local-process" and isinstance(submission.job.source, ImageSource):
        rule = f"queue '{queue.key}' runs processes of its machine, not images"
        fix = "Give a source, or choose a local-container queue."
        problems.append(Problem("docker.docker_image", rule, submission.job.source.image, fix))
    else:
        overrides = submission.resource_args
        problems += [
            Problem(
                path, f"contains the placeholder {{{{{name}}}}}, which only a queue's config may", fix="Give a value."
            )
            for path, name in placeholders(overrides, "resource_args")
        ]
        problems += guardrails.check(queue.resource, overrides, secure=queue.secure_mode)
        config, refused = merge(config, overrides, queue.overridable_fields)
        problems += refused
    problems += macros.check(config, "resource_args")
    problems += _check_services(queue, submission)
    if queue.secure_mode and submission.overrides_entry_point and submission.job.entry_point:
        rule = f"may not be set: queue '{queue.key}' is in secure mode"
        problems.append(Problem("overrides.entry_point", rule, fix="Use the entry point of the job, or of the image."))
    refuse(problems)
    return config


def _check_services(queue: Queue, submission: Submission) -> list[Problem]:
    """A submitter's own manifests: where the queue opens them, and within what a submitter may write at all."""
    services = submission.additional_services
    if not services:
        return []
    if queue.resource != "kubernetes":
        return [Problem("additional_services", f"are for kubernetes, and queue '{queue.key}' is for {queue.resource}")]
    if "additional_services" not in queue.overridable_fields:
        fix = "Ask the queue's owner to list 'additional_services' in overridable_fields."
        return [Problem("additional_services", "may not be brought by a submission to this queue", fix=fix)]
    problems = []
    for index, service in enumerate(services):
        path = f"additional_services[{index}].config"
        problems += guardrails.check_manifest(service["config"], path, secure=queue.secure_mode)
        problems += macros.check(service["config"], path)
    return problems


def check_variables(
    variables: Mapping[str, TemplateVariable], values: Mapping[str, Json]
) -> tuple[dict[str, Json], list[Problem]]:
    """A value for each variable (given, else its default) in its type, and the problems. null is as not given."""
    problems = [
        Problem(
            join("template_variables", name), "is not a template variable of this queue", fix=nearest(name, variables)
        )
        for name in values
        if name not in variables
    ]
    checked: dict[str, Json] = {}
    for name, variable in variables.items():
        field = join("template_variables", name)
        given = values.get(name)
        value = variable.default if given is None else given
        if value is None:
            problems.append(Problem(field, f"is missing, and has no default; it is {TYPES[variable.type]}"))
            continue
        checked[name], broken = conform(variable, value)
        problems += [Problem(field, rule, value) for rule in broken]
    return checked, problems


def conform(variable: TemplateVariable, value: Json) -> tuple[Json, list[str]]:
    """The value in the variable's type, and the rules it breaks.

    As in JSON Schema, 3.0 is an integer (and becomes 3), and true is not one."""
    if variable.type == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not _is(variable.type, value):
        return value, [f"must be {TYPES[variable.type]}"]
    if isinstance(value, list):
        return _conform_list(variable, value)
    rules = []
    if variable.enum is not None and value not in variable.enum:
        rules.append(f"must be one of {', '.join(_text(each) for each in variable.enum)}")
    if variable.minimum is not None and is_number(value) and value < variable.minimum:
        rules.append(f"must be at least {_text(variable.minimum)}")
    if variable.maximum is not None and is_number(value) and value > variable.maximum:
        rules.append(f"must be at most {_text(variable.maximum)}")
    return value, rules


def _conform_list(variable: TemplateVariable, value: list[Json]) -> tuple[Json, list[str]]:
    """`minimum` and `maximum` count elements, as JSON Schema's minItems and maxItems do."""
    rules = []
    if variable.minimum is not None and len(value) < variable.minimum:
        rules.append(f"must have at least {_text(variable.minimum)} elements")
    if variable.maximum is not None and len(value) > variable.maximum:
        rules.append(f"must have at most {_text(variable.maximum)} elements")
    if variable.items is None:
        return value, rules
    elements = [conform(variable.items, element) for element in value]
    broken = {rule for _, element_rules in elements for rule in element_rules}
    return [element for element, _ in elements], [*rules, *(f"each element {rule}" for rule in sorted(broken))]


def coerce(variable: TemplateVariable, text: str) -> Json:
    """The value that a text from a command line means to this variable.

    A text that means none comes back as it is, so that `check_variables` says what is wrong with it."""
    word = text.strip()
    if variable.type == "array":
        return _listed(variable, word)
    if variable.type == "boolean":
        return {"true": True, "false": False}.get(word.lower(), text)
    if variable.type == "integer" and re.fullmatch(r"[+-]?[0-9]{1,20}", word):
        return int(word)
    if variable.type == "number" or variable.type == "integer":
        try:
            number = float(word)
        except ValueError:
            return text
        return number if math.isfinite(number) and word.isascii() else text
    return text


def _listed(variable: TemplateVariable, text: str) -> Json:
    """`["a", "b"]` as JSON, else `a,b`."""
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    words = [word.strip() for word in text.split(",")] if text else []
    return [coerce(variable.items, word) for word in words] if variable.items is not None else list(words)


def placeholders(value: Json, path: str = "") -> list[tuple[str, str]]:
    """Where each `{{name}}` stands, and its name."""
    found: list[tuple[str, str]] = []

    def look(text: str, where: str) -> str:
        found.extend((where, match[1]) for match in _PLACEHOLDER.finditer(text))
        return text

    rewrite(value, look, path)
    return found


def fill(config: Json, values: Mapping[str, Json], path: str = "") -> Json:
    """The config with each placeholder replaced. Keys stay as they are, and values are not filled again.

    Raises Invalid for a placeholder without a value, and for values that make a placeholder of their own."""
    problems: list[Problem] = []

    def filled(text: str, where: str) -> Json:
        names = set(_PLACEHOLDER.findall(text))
        missing = sorted(names - values.keys())
        problems.extend(Problem(where, f"the placeholder {{{{{name}}}}} has no value") for name in missing)
        if not names or missing:
            return text
        whole = _PLACEHOLDER.fullmatch(text)
        value = values[whole[1]] if whole else _PLACEHOLDER.sub(lambda match: _text(values[match[1]]), text)
        if placeholders(value):
            problems.append(Problem(where, "contains a placeholder once its variables are filled in", value))
        return value

    result = rewrite(config, filled, path)
    if problems:
        raise Invalid(problems)
    return result


def merge(
    config: Mapping[str, Json], overrides: Mapping[str, Json], overridable_fields: Sequence[str]
) -> tuple[dict[str, Json], list[Problem]]:
    """The config with the overrides in it, and a problem for each that is not at or below an overridable field.

    Mappings merge key by key; lists and all other values replace."""
    opened = [keys for field in overridable_fields if (keys := split(field))]
    problems: list[Problem] = []
    return _merge(config, overrides, (), opened, problems), problems


def _merge(
    config: Mapping[str, Json],
    overrides: Mapping[str, Json],
    at: tuple[str, ...],
    opened: Sequence[tuple[str, ...]],
    problems: list[Problem],
) -> dict[str, Json]:
    result = dict(config)
    for key, value in overrides.items():
        here = (*at, key)
        old = result.get(key)
        if any(here[: len(path)] == path for path in opened):
            result[key] = _overlaid(old, value)
        elif (
            isinstance(value, Mapping)
            and (old is None or isinstance(old, Mapping))
            and any(path[: len(here)] == here for path in opened)
        ):
            inner = _merge(old or {}, value, here, opened, problems)
            if inner:
                result[key] = inner
        else:
            path = ""
            for step in here:
                path = join(path, step)
            rule = "may not be set by a submission to this queue"
            fix = f"Ask the queue's owner to list '{path}' in overridable_fields."
            problems.append(Problem(f"resource_args.{path}", rule, fix=fix))
    return result


def _overlaid(old: Json, new: Json) -> Json:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: _overlaid(old.get(key), value) for key, value in new.items()}}


def _is(kind: str, value: Json) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return is_number(value) and isinstance(value, int)
        case "number":
            return is_number(value)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, bool)


def _text(value: Json) -> str:
    """As it stands in a string: text as it is, everything else as in JSON."""
    return value if isinstance(value, str) else json.dumps(value)
