"""Tables of the manual, made from the rows of the package: what is there is what is told."""

import qifscan
from qifscan.dynamics.drive import DRIVES
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.dynamics.models import MODELS
from qifscan.dynamics.noise import ou_parameters
from qifscan.dynamics.observables import THRESHOLDS, observables
from qifscan.dynamics.status import STATUS_MEANINGS
from qifscan.engine.measured import diagnostics


def table(head, rows):
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text):
    return str(text).replace("|", r"\|").replace("\n", " ")


def code(text):
    """Return a name as code."""
    return f"`{text}`"


def number(value):
    """Return a default, or nothing where there is none."""
    return "" if value is None else f"{value:g}"


def parameters_table(rows):
    """Return parameters with unit, default, domain and meaning."""
    head = ("parameter", "default", "unit", "values", "meaning")
    return table(
        head,
        [
            (code(p.name), number(p.default), p.unit, p.domain.words, p.meaning)
            for p in rows
        ],
    )


def model_list():
    """Return every model with what it is and where it is from."""
    rows = [
        (
            f"[`{m.name}`](#{m.name.replace('_', '-')})",
            ", ".join(m.variable_names),
            m.reference,
        )
        for m in MODELS.values()
    ]
    return table(("model", "variables", "source"), rows)


def model(name):
    """Return the variables and parameters of a model."""
    found = MODELS[name]
    variables = table(
        ("variable", "unit", "meaning", "noise"),
        [
            (code(v.name), v.unit, v.meaning, "yes" if v.input_unit else "")
            for v in found.variables
        ],
    )
    reached = [f"`{name}`" for name in found.reached]
    equations = f"equation{'s' * (len(reached) > 1)} of {' and '.join(reached)}"
    drive = f"The drive is added to the {equations}."
    return "\n\n".join(
        [
            variables,
            parameters_table(found.parameters),
            f"{drive} Source: {found.reference}.",
        ]
    )


def noise():
    """Return the parameters of the noise on v."""
    variable = next(v for v in MODELS["qif"].variables if v.name == "v")
    return parameters_table(ou_parameters(variable))


def observable_list():
    """Return the observables of the plain model; those of each variable once, for r."""
    rows = observables(MODELS["qif"])
    shown = [row for name, row in rows.items() if not name.startswith("v_")]
    return table(
        ("observable", "unit", "meaning"),
        [(code(r.name), r.unit, r.meaning) for r in shown],
    )


def thresholds():
    """Return the two thresholds."""
    return table(
        ("parameter", "unit", "meaning"),
        [(code(p.name), p.unit, p.meaning) for p in THRESHOLDS],
    )


def drive_list():
    """Return each kind of drive with its formula and numbers."""
    rows = []
    for kind, row in DRIVES.items():
        fields = [name for name in row.model_fields if name != "kind"]
        numbers = {p.name for p in row.numbers}
        marked = ", ".join(
            code(name) + ("" if name in numbers else " (a list)") for name in fields
        )
        meaning = " ".join(row.__doc__.split("\n\n")[0].split())
        rows.append((code(kind), code(f"qs.{row.__name__}"), meaning, marked))
    return table(("kind", "in Python", "I(t)", "fields"), rows)


def status_list():
    """Return the flags of a status."""
    rows = [
        (int(flag), code(flag.name), meaning) for flag, meaning in STATUS_MEANINGS.items()
    ]
    return table(
        ("value", "flag", "meaning"),
        [(0, code("not_run"), "the point has not been run"), *rows],
    )


def diagnostic_list():
    """Return the variables that stand beside the observables of every dataset."""
    scan = qifscan.Scan(axes={"r_ou_sigma": [0.0, 0.1]})
    rows = diagnostics(scan).items()
    return table(
        ("variable", "unit", "meaning"),
        [
            (code(name), row.attributes.get("units", ""), row.attributes["long_name"])
            for name, row in rows
        ],
    )


def integrator_list():
    """Return the integrators, with what each is for."""
    rows = [
        (
            code(r.name),
            r.order,
            r.meaning,
            "the plain model" if r.plain else "all",
            r.reference,
        )
        for r in INTEGRATORS.values()
    ]
    return table(("name", "order", "method", "models", "source"), rows)


TABLES = {
    made.__name__: made
    for made in (
        model_list,
        model,
        noise,
        observable_list,
        thresholds,
        drive_list,
        status_list,
        diagnostic_list,
        integrator_list,
    )
}
