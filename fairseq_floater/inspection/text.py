"""The text that ``floater inspect`` prints."""

from pathlib import Path
from typing import List, Optional, Tuple

from fairseq_floater.inspection.findings import Equation, Findings, StackFindings
from fairseq_floater.inspection.spectrum import DIRECTIONS, Spectrum
from fairseq_floater.inspection.tables import several

Row = Tuple[str, str]


def as_text(findings: Findings) -> str:
    """Format what is true of the model, then a table with a column per stack, for a terminal."""
    lines = _aligned([[label, value] for label, value in _of_model(findings)])
    columns = {name: dict(_of_stack(stack)) for name, stack in findings.stacks.items()}
    if columns:
        labels = dict.fromkeys(label for column in columns.values() for label in column)
        table = [["", *columns]]
        table += [[label, *(c.get(label, "-") for c in columns.values())] for label in labels]
        lines += ["", *_aligned(table)]
    return "\n".join(lines)


def _of_model(findings: Findings) -> List[Row]:
    updates = "" if findings.updates is None else f", {findings.updates:,} updates"
    rows = [
        ("checkpoint", f"{Path(findings.checkpoint).name}{updates}"),
        ("position encoder", findings.position_encoder),
    ]
    if findings.stacks:
        rows += [
            ("position blocks", findings.position_blocks),
            ("position injection", str(findings.position_injection)),
        ]
    for name, stack in findings.stacks.items():
        blocks = f"{stack.blocks} block{'s' * (stack.blocks > 1)}"
        rows.append(
            (f"{name} tracks", f"{blocks} x {len(stack.tracks)}: {', '.join(stack.tracks)}")
        )
    rows += [(name.replace("_", " "), str(value)) for name, value in findings.settings.items()]
    rows.append(("position parameters", _parameters(findings)))
    return [*rows, ("training length", f"{findings.length:,} positions, as given")]


def _parameters(findings: Findings) -> str:
    kinds = {kind: count for kind, count in findings.position_parameters.items() if count}
    total, model = sum(kinds.values()), findings.model_parameters
    if not kinds:
        return f"none of {model:,}"
    parts = " + ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    return f"{parts}, {100 * total / model:.1f} % of {model:,}"


def _of_stack(stack: StackFindings) -> List[Row]:
    limit = f" ({stack.limit})" if stack.limit else ""
    rows = [
        ("vector size", f"{stack.dim:,}"),
        (f"{several(stack.rows)} looked at", f"{stack.positions:,}{limit}"),
    ]
    if stack.baked_positions is not None:
        rows.append(("positions baked in", f"{stack.baked_positions:,}"))
    if stack.equation is not None:
        rows += _of_equation(stack.equation)
    rows += [
        (f"norm, {stack.rows} {i:,}", _three_digits(value)) for i, value in stack.norms.items()
    ]
    rows += [
        (f"distance of tracks / norm, {stack.rows} {i:,}", f"{value:.2f}")
        for i, value in stack.spreads.items()
    ]
    for count, spectrum in stack.spectra.items():
        rows += _of_spectrum(count, spectrum)
    return rows


def _of_equation(equation: Equation) -> List[Row]:
    found = {
        "hidden size": (equation.hidden_dim, ","),
        "spectral norm of W1, state": (equation.state_norm, ".2f"),
        "spectral norm of W2, hidden": (equation.hidden_norm, ".2f"),
        "delta x W1 x W2": (equation.stiffness, ".2f"),
        "shortest period, positions": (equation.shortest_period, ",.1f"),
        "longest period, positions": (equation.longest_period, ",.1f"),
        "solver's relative error": (equation.solver_error, ".1e"),
    }
    return [
        (name, format(value, form)) for name, (value, form) in found.items() if value is not None
    ]


def _of_spectrum(count: int, spectrum: Spectrum) -> List[Row]:
    shares = " / ".join(f"{100 * share:.0f}" for share in spectrum.variance.values())
    directions = "/".join(map(str, DIRECTIONS))
    return [
        (f"first {count:,}: effective rank", f"{spectrum.effective_rank:.2f}"),
        (f"first {count:,}: % of variance in {directions}", shares),
        (f"first {count:,}: period", _period(spectrum.period, count)),
    ]


def _period(period: Optional[float], count: int) -> str:
    if period is None:
        return "none"
    return f">= {count:,}" if period == count else f"{period:.1f}"


def _three_digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


def _aligned(rows: List[List[str]]) -> List[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
