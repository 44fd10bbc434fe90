"""Files of the project between a trained update and the global model that follows from it, in one process."""

import pytest
from called_files import called_files

# On the way, but of other journeys: from an image to the loss, measures, and settings.
_OTHERS = ("app/data/", "app/evaluation/", "app/images/", "app/settings/", "app/tasks/", "app/training/", "models/")


def _trained(code, event):
    return event == "return" and code.co_name == "train" and code.co_filename.endswith("app/training/trainer.py")


@pytest.mark.parametrize(("cipher", "most"), [("plain", 38), ("kahe", 55)])
def test_files_between_an_update_and_the_global_model_become_no_more(make_federation, cipher, most):
    """Counted: 31 and 51, where 25 are the aim; a slow reply calls up to three files of waiting and of repeats more."""
    federation = make_federation("run", changes=f"federation.rounds=1 privacy.cipher={cipher}")
    with called_files(_trained) as names:
        federation.run()
    own = {name for name in names() if not name.startswith(_OTHERS)}
    assert own >= {"strategies/partial_sync.py", "app/federation/global_model.py", "app/client_app.py"}
    assert len(own) <= most, "\n".join(sorted(own))
