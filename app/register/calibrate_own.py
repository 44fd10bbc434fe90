"""Calibration of the sum of all evidence on what the register holds: its own images, and confirmed answers."""

from typing import Any

from app.core.outputs import require_folder_place
from app.evaluation.errors import EvaluationError
from app.register.calibrate import dated, earlier, read_report, write_report
from app.register.calibrate_evidence import LEAST_VEHICLES, RATES, Rates, fit, measure
from app.register.comparisons import of_register
from app.register.confirmed import Confirmed, of_confirmed
from app.register.identification import Identification


def calibrate_by_register(
    identification: Identification, *, account: str, rates: Rates = RATES, own: bool = True, confirmed: bool = False
) -> dict[str, Any]:
    """Calibrate the sum of all evidence; the thresholds of libraries stay.

    Args:
        own: on the register's own images, of vehicles with two or more.
        confirmed: on sightings that somebody confirmed.

    Returns the report, kept as `calibrate` keeps it. Raises EvaluationError where there is too little of either."""
    rates.check()
    model, recogniser = identification.active_model.current()
    folder = identification.folder / "calibration" / model.digest
    require_folder_place("calibration", folder)
    said = of_confirmed(identification, model, recogniser) if confirmed else None
    if said is not None:
        _require_enough(said, own=own)
    comparisons = [*(of_register(identification.database, model) if own else ()), *(said.comparisons if said else ())]
    fitted = fit(comparisons, rates, before=earlier(identification, model))
    identification.models.set_evidence(model.id, fitted.calibration, account)
    folder.mkdir(parents=True, exist_ok=True)
    before = read_report(folder) or {"model": model.digest, "libraries": {}}
    evidence = {**dated(fitted), "register": identification.size()}
    evidence |= {"confirmed": said.counts()} if said else {}
    report = {**before, "evidence": evidence}
    write_report(folder, report)
    return {**report, "folder": str(folder)}


def renew_figures(identification: Identification) -> bool:
    """Measure the calibration as it is on the register's own images as they are, and add it to the report; False where
    there is nothing to measure, or too little."""
    model = identification.models.active()
    calibration = identification.models.evidence(model) if model is not None else None
    if model is None or calibration is None:
        return False
    folder = identification.folder / "calibration" / model.digest
    report = read_report(folder) or {}
    if not (report.get("evidence") or {}).get("vehicles"):
        return False
    before = report["evidence"].get("calibrated")
    try:
        figures = measure(of_register(identification.database, model), calibration)
    except EvaluationError:
        return False
    report = read_report(folder) or {}
    if (report.get("evidence") or {}).get("calibrated") != before:
        return False  # calibrated meanwhile, and measured with it
    report["evidence"]["now"] = {**figures, "register": identification.size()}
    write_report(folder, report)
    return True


def _require_enough(said: Confirmed, *, own: bool) -> None:
    """Raise EvaluationError for too few confirmed answers."""
    if own and not said.residents + said.strangers:
        raise EvaluationError("no confirmed answer can be used yet: leave --confirmed out")
    if not own and said.vehicles < LEAST_VEHICLES:
        raise EvaluationError(
            f"the confirmed answers are of {said.vehicles} registered vehicles; at least {LEAST_VEHICLES} are needed, "
            "or the register's own images beside them: --own --confirmed"
        )
