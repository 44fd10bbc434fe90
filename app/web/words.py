"""Fixed words of the register that pages show: marked for the catalogue here, translated where they are shown."""

from app.web.marks import N_

ROLES = (N_("guard"), N_("manager"), N_("admin"))
LIBRARIES = (N_("fused"), N_("plate"), N_("vehicle"))
KINDS = (N_("car"), N_("motorcycle"), N_("bus"), N_("truck"))
CURVES = (N_("loss"), N_("measures"))
CALIBRATION_ROWS = (
    *(N_("residents"), N_("residents before this calibration"), N_("residents after it")),
    *(N_("strangers"), N_("strangers before this calibration"), N_("strangers after it")),
    *(N_("residents in the register as it is"), N_("strangers in the register as it is"), N_("not measured")),
)
LIST_KINDS = (N_("visitor"), N_("allow"), N_("deny"))
SUBJECTS = (N_("sighting"), N_("account"), N_("incident"), N_("model"), N_("owner"))
TABLES = (N_("list entry"), N_("begin"), N_("end"))
ACTIONS = (
    *(
        N_("add account"),
        N_("change account"),
        N_("log in"),
        N_("refuse log-in"),
        N_("refuse password"),
        N_("make token"),
        N_("revoke token"),
    ),
    *(N_("identify"), N_("confirm"), N_("withdraw confirmation"), N_("forget sightings"), N_("set retention")),
    *(N_("report incident"), N_("close incident"), N_("reopen incident")),
    *(N_("export sightings"), N_("export incidents"), N_("export"), N_("back up"), N_("restore")),
    *(
        N_("enrol"),
        N_("add views"),
        N_("correct view"),
        N_("remove view"),
        N_("merge"),
        N_("correct"),
        N_("undo edit"),
        N_("undo view"),
        N_("undo add"),
        N_("undo merge"),
    ),
    *(N_("look at vehicle"), N_("look at owner"), N_("search owners"), N_("search plates"), N_("forget")),
    *(N_("add model"), N_("serve model"), N_("set thresholds"), N_("set evidence"), N_("set decision")),
    *(N_("plate reader"), N_("detector"), N_("set plate country"), N_("set plate threshold")),
    *(N_("drop events"), N_("event expired"), N_("event refused"), N_("write to owner"), N_("note to owner")),
    *(N_("add list entry"), N_("change list entry"), N_("remove list entry"), N_("forget list entries")),
    *(N_("import list"), N_("export list")),
)
