"""Remarks about the mean of the last global models, for the figures of a run."""

from app.core.global_state import GlobalModel
from app.core.run_folder import RunFolder
from app.experiment.compare import node_stores
from app.settings.load import Settings


def averaged_remarks(settings: Settings, folder: RunFolder) -> dict[str, str]:
    """Remark about the global model of a simulation, by subject; none without `federation.averaged_rounds`."""
    asked = settings.federation.averaged_rounds
    if not settings.federation.averages:
        return {}
    found = {version: store for store in node_stores(folder).values() for version in store.rounds("global")}
    last = max(found)
    count = GlobalModel.of(found[last].read("global", last)[0]).averaged(settings.federation, last)
    remark = f"the mean of {count} of the last models (federation.averaged_rounds={asked})"
    if count < min(asked, last):
        remark += ", as the run was extended: the mean began anew, and holds fewer than asked for"
    if compared := settings.evaluation.compare:
        remark += f"; {', '.join(compared)} to compare with: the last model of each, no mean"
    return {"global model": remark}
