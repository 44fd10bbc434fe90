"""Folders of a site in which tests look for its checkpoints."""


def state_of(folder, number=0):
    return folder / f"site-{number}" / "state"


def made_in(state):
    """The one folder of checkpoints at a site."""
    [folder] = (state / "models").iterdir()
    return folder
