"""The pieces that dashboards are made of, as plain data in Grafana's own JSON model.

A dashboard is reviewed in these modules and shipped as the JSON that they give; a test holds one against the
other. Nothing but Python itself is needed.
"""

import re

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# The dashboards by their stable uids, in the order in which they link to each other.
BOARDS = {
    "vllm-prober-fleet": "Fleet",
    "vllm-prober-deployment": "Deployment",
    "vllm-prober-precision": "Precision",
    "vllm-prober-changes": "Before and after a change",
    "vllm-prober-health": "Prober health",
}

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#8e8e8e"


# Queries.

def series(expr, legend):
    """A query over the time range."""
    return {"expr": expr, "legendFormat": legend, "range": True, "instant": False, "format": "time_series"}


def now(expr, legend="__auto"):
    """A query for the end of the time range."""
    return {"expr": expr, "legendFormat": legend, "range": False, "instant": True, "format": "time_series"}


def rows(expr):
    """The same as rows of a table: labels and value are columns."""
    return {"expr": expr, "legendFormat": "__auto", "range": False, "instant": True, "format": "table"}


def buckets(expr):
    """Buckets of a histogram, for a heatmap."""
    return {"expr": expr, "legendFormat": "{{le}}", "range": True, "instant": False, "format": "heatmap"}


# How values look.

def steps(*pairs):
    """Colours from a value on; the first one holds from below."""
    (first, *rest) = pairs
    bounds = [{"color": first, "value": None}]
    return {"mode": "absolute", "steps": bounds + [{"color": color, "value": value} for value, color in rest]}


def words(meanings):
    """Words and colours in place of numbers."""
    options = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(meanings.items())
    }
    return [{"type": "value", "options": options}]


VERDICT = words({-1: ("regressed", RED), 0: ("none", GREY), 1: ("improved", GREEN)})
YES_NO = words({0: ("no", GREY), 1: ("yes", GREEN)})


def override(name, **properties):
    """What holds for the field of that name; between slashes it is a regular expression."""
    pattern = re.fullmatch("/.*/", name)
    matcher = {"id": "byRegexp" if pattern else "byName", "options": name}
    found = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": matcher, "properties": found}


def color(name):
    return {"mode": "fixed", "fixedColor": name}


DASHES = {"fill": "dash", "dash": [8, 8]}


def dashed(name, **properties):
    return override(name, custom__lineStyle=DASHES, custom__lineWidth=1, **properties)


def shaded(name, shade):
    """A series of ones that fills the whole height, on an axis that is not shown."""
    return override(
        name,
        unit="bool_yes_no",
        color=color(shade),
        min=0,
        max=1,
        custom__axisPlacement="hidden",
        custom__fillOpacity=18,
        custom__lineWidth=0,
        custom__drawStyle="line",
    )


def band(lower, upper, shade):
    """Fills between two series."""
    edge = {"color": color(shade), "custom__lineWidth": 0}
    return [
        override(lower, **edge),
        override(upper, **edge, custom__fillBelowTo=lower, custom__fillOpacity=15),
    ]


# Panels.

def panel(kind, title, description, targets, unit, *, options=None, overrides=(), mappings=(), thresholds=None,
          custom=None, transformations=(), links=(), interval=None, max_data_points=None, no_value=None, **defaults):
    for index, target in enumerate(targets):
        target.setdefault("refId", chr(ord("A") + index))
        target["datasource"] = DATASOURCE
        target["editorMode"] = "code"
    field = {"unit": unit, "mappings": list(mappings), "thresholds": thresholds or steps(GREEN), "custom": custom or {}}
    field.setdefault("color", {"mode": "thresholds"})
    if no_value is not None:
        field["noValue"] = no_value
    if links:
        field["links"] = list(links)
    field.update(defaults)
    made = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": field, "overrides": list(overrides)},
        "options": options or {},
        "transparent": False,
    }
    if transformations:
        made["transformations"] = list(transformations)
    if interval:
        made["interval"] = interval
    if max_data_points:
        made["maxDataPoints"] = max_data_points
    return made


def lines(title, description, targets, unit, *, legend=("lastNotNull",), custom=None, **more):
    """Values over time. They stand until the next run: steps, and a gap where a run does not count."""
    drawn = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter",
        "lineWidth": 2,
        "fillOpacity": 0,
        "showPoints": "never",
        "spanNulls": False,
        "axisPlacement": "auto",
        "stacking": {"mode": "none", "group": "A"},
        "thresholdsStyle": {"mode": "off"},
    }
    more.setdefault("color", {"mode": "palette-classic"})
    more.setdefault("no_value", "no run counts here")
    return panel(
        "timeseries", title, description, targets, unit,
        custom=drawn | (custom or {}),
        options={
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": list(legend)},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
        **more,
    )


def bars(title, description, targets, unit, **more):
    """Counts over time, stacked."""
    drawn = {"drawStyle": "bars", "lineInterpolation": "linear", "lineWidth": 0, "fillOpacity": 80,
             "stacking": {"mode": "normal", "group": "A"}}
    return lines(title, description, targets, unit, custom=drawn, legend=("sum",), max_data_points=48, interval="1m",
                 **more)


def stat(title, description, targets, unit, *, background=True, **more):
    return panel(
        "stat", title, description, targets, unit,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if background else "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
        },
        **more,
    )


def table(title, description, targets, unit, *, columns, sort=None, hidden=(), overrides=(), **more):
    """Rows that several queries agree on by their labels. `columns` is the order and the names of what is shown."""
    order = {name: index for index, name in enumerate(columns)}
    organize = {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, **{name: True for name in hidden}},
            "indexByName": order,
            "renameByName": {name: shown for name, shown in columns.items() if name != shown},
        },
    }
    merge = [{"id": "merge", "options": {}}] if len(targets) > 1 else []
    sort_by = [{"displayName": name, "desc": desc} for name, desc in sort or ()]
    return panel(
        "table", title, description, targets, unit,
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True},
        options={"showHeader": True, "cellHeight": "sm", "sortBy": sort_by,
                 "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""}},
        transformations=[*merge, organize, *more.pop("after", ())],
        overrides=overrides,
        **more,
    )


def bar_chart(title, description, targets, unit, *, x, columns, stacked=False, horizontal=True, hidden=(),
              custom=None, **more):
    """Bars by name, of the rows of one or more queries. `columns` names what is shown, the name of a bar first."""
    order = {name: index for index, name in enumerate(columns)}
    organize = {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, **{name: True for name in hidden}},
            "indexByName": order,
            "renameByName": {name: shown for name, shown in columns.items() if name != shown},
        },
    }
    merge = [{"id": "merge", "options": {}}] if len(targets) > 1 else []
    more.setdefault("color", {"mode": "palette-classic"})
    return panel(
        "barchart", title, description, targets, unit,
        custom={"lineWidth": 1, "fillOpacity": 80, "gradientMode": "none", "axisPlacement": "auto",
                "thresholdsStyle": {"mode": "off"}} | (custom or {}),
        options={
            "xField": x,
            "orientation": "horizontal" if horizontal else "vertical",
            "stacking": "normal" if stacked else "none",
            "showValue": "never" if stacked else "auto",
            "barWidth": 0.7,
            "groupWidth": 0.8,
            "xTickLabelRotation": 0,
            "xTickLabelMaxLength": 40,
            "fullHighlight": True,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
        transformations=[*merge, organize],
        **more,
    )


def bar_gauge(title, description, targets, unit, **more):
    return panel(
        "bargauge", title, description, targets, unit,
        options={
            "displayMode": "basic",
            "orientation": "horizontal",
            "valueMode": "color",
            "showUnfilled": True,
            "minVizHeight": 16,
            "minVizWidth": 8,
            "namePlacement": "left",
            "sizing": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        **more,
    )


def timeline(title, description, targets, mappings, **more):
    """Which of a few words held when; neighbours that are equal are one."""
    return panel(
        "state-timeline", title, description, targets, "none",
        mappings=mappings,
        custom={"lineWidth": 0, "fillOpacity": 80},
        options={
            "mergeValues": True,
            "showValue": "auto",
            "alignValue": "left",
            "rowHeight": 0.85,
            "perPage": 25,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        **more,
    )


def heatmap(title, description, targets, unit):
    return panel(
        "heatmap", title, description, targets, "short",
        custom={"scaleDistribution": {"type": "linear"}},
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange",
                      "scale": "exponential", "reverse": False},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        },
        max_data_points=96,
        interval="1m",
    )


# Dashboards.

def link(uid, title, **variables):
    """From a cell to another dashboard, with what was chosen here."""
    chosen = "".join(f"&var-{name}={value}" for name, value in variables.items())
    kept = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", "family", "workload"))
    return {"title": title, "url": f"/d/{uid}?{kept}{chosen}&${{__url_time_range}}", "targetBlank": False}


def variable(name, label, query, *, multi=False, all_values=True, every=None, current=None):
    """A choice among label values. `every` stands for all of them, also where the label is missing."""
    if current is None:
        current = {"text": ["All"], "value": ["$__all"]} if multi else {"text": "All", "value": "$__all"}
    return {
        "type": "query", "name": name, "label": label, "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2, "sort": 1, "multi": multi, "includeAll": all_values, "regex": "", "hide": 0,
        "options": [], "current": current, "skipUrlSync": False, **({"allValue": every} if every else {}),
    }


def choice(name, label, values, description=""):
    """A variable with values of our own, the first one chosen."""
    options = [{"text": text, "value": value, "selected": index == 0} for index, (value, text) in enumerate(values.items())]
    return {
        "type": "custom", "name": name, "label": label, "description": description,
        "query": ",".join(f"{text} : {value}" for value, text in values.items()),
        "multi": False, "includeAll": False, "hide": 0, "options": options, "skipUrlSync": False,
        "current": {"text": options[0]["text"], "value": options[0]["value"]},
    }


VARIABLES = [
    {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "regex": "", "refresh": 1,
     "multi": False, "includeAll": False, "hide": 0, "options": [], "current": {}, "skipUrlSync": False},
    variable("family", "Family", "label_values(vllm_probe_deployment_info, family)", every=".*"),
    variable("deployment", "Deployment", 'label_values(vllm_probe_deployment_info{family=~"$family"}, deployment)', multi=True),
    variable("workload", "Workload", 'label_values(vllm_probe_runs_total{deployment=~"$deployment"}, workload)',
             all_values=False, current={"text": "reference", "value": "reference"}),
]


def annotation(name, expr, shade, title, text, *, enabled=True, at_value=False):
    made = {
        "name": name, "datasource": DATASOURCE, "enable": enabled, "hide": False, "iconColor": shade,
        "expr": expr, "step": "", "titleFormat": title, "textFormat": text, "tagKeys": "deployment,field",
        "useValueForTime": at_value,
        "target": {"expr": expr, "refId": "Anno", "interval": ""},
    }
    return made


class Board:
    """A dashboard that is filled from left to right, line by line."""

    def __init__(self, uid, description, *, variables=(), annotations=(), span="now-24h", refresh="1m",
                 one_at_first=False):
        self.uid, self.description = uid, description
        self.variables, self.annotations = [*VARIABLES, *variables], list(annotations)
        self.one_at_first = one_at_first
        self.span, self.refresh = span, refresh
        self.panels, self.x, self.y, self.line = [], 0, 0, 0

    def place(self, made, width, height):
        if self.x + width > 24:
            self.x, self.y, self.line = 0, self.y + self.line, 0
        made["id"] = len(self.panels) + 1
        made["gridPos"] = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.panels.append(made)
        self.x, self.line = self.x + width, max(self.line, height)

    def row(self, title, repeat=None):
        """Begins a group of panels, one group for each value of the variable `repeat`."""
        self.x, self.y, self.line = 0, self.y + self.line, 0
        made = {"type": "row", "title": title, "collapsed": False, "panels": []}
        if repeat:
            made["repeat"] = repeat
        self.place(made, 24, 1)

    def add(self, width, height, *panels):
        for made in panels:
            self.place(made, width, height)

    def json(self):
        links = [
            {"type": "link", "title": title, "url": f"/d/{uid}", "tooltip": "", "icon": "dashboard", "tags": [],
             "asDropdown": False, "targetBlank": False, "includeVars": True, "keepTime": True}
            for uid, title in BOARDS.items() if uid != self.uid
        ]
        variables = self.variables
        if self.one_at_first:
            # A group of panels for each of a thousand deployments is more than a browser bears.
            first = {"includeAll": False, "current": {}}
            variables = [one | first if one["name"] == "deployment" else one for one in variables]
        return {
            "uid": self.uid,
            "title": f"vLLM prober / {BOARDS[self.uid]}",
            "description": self.description,
            "tags": ["vllm-prober"],
            "schemaVersion": 41,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "refresh": self.refresh,
            "time": {"from": self.span, "to": "now"},
            "timezone": "browser",
            "links": links,
            "templating": {"list": variables},
            "annotations": {"list": self.annotations},
            "panels": self.panels,
        }
