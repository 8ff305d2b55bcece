// Reads the charts of a deployment off: the run under the pointer, or the one that the arrow keys have come to, and what
// is to be told of it. A time that is dragged over becomes the page's address, which draws that time.
"use strict";
{
  /** Pixels from which a pointer that moves is taken to drag. */
  const DRAG = 6;

  /** The shortest time that is zoomed to, in seconds. */
  const SHORTEST = 60;

  /** The run that is read off: its time, on the chart of a figure. */
  let reading = null;
  let drag = null;

  document.documentElement.dataset.scripts = "";

  /** What the server has written for the charts beside `element`. */
  const data = (element) => {
    const { plot, runs, environments } = element.closest(".curves").dataset;
    const [left, right, width, from, to, first, last] = JSON.parse(plot);
    return { left, right, width, from, to, first, last, runs: JSON.parse(runs), environments: JSON.parse(environments) };
  };

  const added = (plot, name) => {
    const found = plot.querySelector(`.${name}`);
    if (found) return found;
    const element = document.createElement("div");
    element.className = name;
    element.dataset.added = "";
    plot.append(element);
    return element;
  };

  /** Where an instant is, in percent of a chart's width. */
  const place = ({ left, right, width, from, to }, at) => ((left + ((at - from) / (to - from)) * (right - left)) / width) * 100;

  /** Which instant is under the pointer. */
  const instant = ({ left, right, width, from, to }, plot, event) => {
    const box = plot.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    return Math.min(to, Math.max(from, from + ((x - left) / (right - left)) * (to - from)));
  };

  const clear = () => {
    for (const element of document.querySelectorAll(".curves .hair")) element.remove();
    for (const element of document.querySelectorAll(".curves .readout")) element.replaceChildren();
    reading = null;
  };

  const text = (tag, content) => Object.assign(document.createElement(tag), { textContent: content });
  const address = (id) => `../runs/${encodeURIComponent(id)}`;

  /** Tells of a run on the chart of `figure`, and shows where it is on all. */
  const read = (figure, known, run) => {
    const [at, id, standing, environment] = run;
    const index = known.runs.indexOf(run);
    if (reading?.figure !== figure) clear();
    const isNew = reading?.at !== at;
    reading = { figure, at };
    for (const plot of figure.closest(".curves").querySelectorAll(".plot")) {
      added(plot, "hair").style.left = `${place(known, at)}%`;
    }
    // What is told anew is read out anew.
    if (!isNew) return;
    const value = JSON.parse(figure.dataset.values)[index];
    const parts = [text("b", value ?? "no figure"), `, ${standing}, `, times.element(new Date(at * 1000), "minute")];
    parts.push(`, ${known.environments[environment]}`);
    if (id) parts.push(". ", Object.assign(text("a", "Open the run"), { href: address(id) }));
    figure.querySelector(".readout").replaceChildren(...parts);
  };

  const nearest = (runs, at) => runs.reduce((best, run) => (Math.abs(run[0] - at) < Math.abs(best[0] - at) ? run : best));

  /** Has the page draw another time; all of it without `from`. */
  const zoom = (from, to) => {
    const url = new URL(location.href);
    for (const name of ["last", "from", "to"]) url.searchParams.delete(name);
    if (from !== undefined) {
      url.searchParams.set("from", new Date(Math.floor(from) * 1000).toISOString());
      url.searchParams.set("to", new Date(Math.ceil(to) * 1000).toISOString());
    }
    history.pushState(null, "", url);
    document.dispatchEvent(new Event("page:ask"));
  };

  /** Zooms about the run that is read off, or else the middle, to so many times the time that is shown. */
  const zoomBy = (share, element) => {
    const known = data(element);
    const length = Math.max(SHORTEST, (known.to - known.from) * share);
    const isRead = reading?.figure.closest(".curves") === element.closest(".curves");
    const middle = isRead ? reading.at : (known.from + known.to) / 2;
    if (length >= known.last - known.first) return zoom();
    // As much as that, also near an end.
    const from = Math.min(Math.max(middle - length / 2, known.first), known.last - length);
    zoom(from, from + length);
  };

  const plotOf = (event) => event.target.closest?.(".curves .plot");

  document.addEventListener("pointerdown", (event) => {
    const plot = plotOf(event);
    if (!plot || event.pointerType === "touch" || event.button !== 0) return;
    drag = { plot, x: event.clientX, from: instant(data(plot), plot, event) };
    plot.setPointerCapture(event.pointerId);
  });

  document.addEventListener("pointermove", (event) => {
    const plot = drag?.plot ?? plotOf(event);
    // A finger that moves scrolls.
    if (!plot || event.pointerType === "touch") return;
    const known = data(plot);
    const at = instant(known, plot, event);
    if (drag && (drag.isWide ||= Math.abs(event.clientX - drag.x) > DRAG)) {
      const ends = [drag.from, at].sort((a, b) => a - b).map((end) => place(known, end));
      for (const each of plot.closest(".curves").querySelectorAll(".plot")) {
        Object.assign(added(each, "dragged").style, { left: `${ends[0]}%`, width: `${ends[1] - ends[0]}%` });
      }
    }
    read(plot.closest("figure"), known, nearest(known.runs, at));
  });

  const drop = () => {
    for (const element of document.querySelectorAll(".curves .dragged")) element.remove();
    drag = null;
  };

  document.addEventListener("pointerup", (event) => {
    const plot = drag?.plot ?? plotOf(event);
    if (!plot) return;
    const known = data(plot);
    const at = instant(known, plot, event);
    const dragged = drag?.isWide && [drag.from, at].sort((a, b) => a - b);
    drop();
    if (!dragged) return read(plot.closest("figure"), known, nearest(known.runs, at));
    // A time without a run has nothing to draw.
    const runs = known.runs.filter((run) => dragged[0] <= run[0] && run[0] <= dragged[1]);
    if (runs.length) zoom(...dragged);
  });
  document.addEventListener("pointercancel", drop);

  document.addEventListener("click", (event) => {
    const direction = event.target.dataset?.zoom;
    const charts = direction && event.target.closest("section").querySelector(".curves");
    if (charts) zoomBy(direction === "in" ? 1 / 2 : 2, charts);
  });

  document.addEventListener("keydown", (event) => {
    const figure = event.target;
    if (!figure.matches?.(".curves figure") || event.ctrlKey || event.metaKey || event.altKey) return;
    const known = data(figure);
    const { runs } = known;
    const now = reading?.figure === figure ? runs.findIndex((run) => run[0] === reading.at) : runs.length;
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: runs.length - 1 }[event.key];
    const doing = {
      Enter: () => runs[now]?.[1] && location.assign(address(runs[now][1])),
      Escape: clear,
      "+": () => zoomBy(1 / 2, figure),
      "=": () => zoomBy(1 / 2, figure),
      "-": () => zoomBy(2, figure),
      0: () => zoom(),
    }[event.key];
    if (to === undefined && !doing) return;
    event.preventDefault();
    if (doing) return doing();
    read(figure, known, runs[Math.min(runs.length - 1, Math.max(0, to))]);
    figure.querySelector(".hair").scrollIntoView({ block: "nearest", inline: "nearest" });
  });

  // The latest runs are at the right, and a narrow screen does not show the whole of a chart.
  for (const figure of document.querySelectorAll(".curves figure")) figure.scrollLeft = figure.scrollWidth;

  /** The charts were drawn anew: the run is elsewhere on them, or there no more. */
  document.addEventListener("page:renewed", () => {
    if (!reading) return;
    const { figure, at } = reading;
    const known = figure.isConnected && data(figure);
    const run = known && known.runs.find((run) => run[0] === at);
    if (run) read(figure, known, run);
    else clear();
  });
}
