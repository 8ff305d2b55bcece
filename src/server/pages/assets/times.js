// Tells the instants of a page in its reader's zone, which the page then names once; in UTC they stay on hover. Where no
// script runs, and for a reader in UTC, each of them is told in UTC and says so.
"use strict";
const times = (() => {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const isUtc = ["UTC", "Etc/UTC", "GMT", "Etc/GMT"].includes(timeZone);
  const suffix = isUtc ? "\u00a0UTC" : "";
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone, hourCycle: "h23", year: "numeric", month: "short", day: "numeric",
    hour: "2-digit", minute: "2-digit", second: "2-digit",
  });

  /** The year, month, day, hour, minute and second that a clock shows then. */
  const read = (date) => Object.fromEntries(format.formatToParts(date).map(({ type, value }) => [type, value]));

  /** With the date unless that is the day of `now`, as the server tells it. */
  const minute = (at, now) => {
    const year = at.year === now.year ? "" : ` ${at.year}`;
    const isToday = !year && at.month === now.month && at.day === now.day;
    return `${isToday ? "" : `${at.month} ${at.day}${year}, `}${at.hour}:${at.minute}${suffix}`;
  };
  const second = (at) => `${at.hour}:${at.minute}:${at.second}${suffix}`;
  const forms = { minute, second };

  /** What stands at a tick of a chart, which is a whole day in UTC or a time of one. */
  const tick = (at) => `${at.month} ${at.day.padStart(2, "0")} ${at.hour}:${at.minute}`;

  /** As of when the page is that has `root`. */
  const asOf = (root) => (root.querySelector(".asof time") ?? document.querySelector(".asof time")).dateTime;

  /** Tells every instant below `root` in the reader's zone. */
  const localise = (root) => {
    if (isUtc) return;
    const now = read(new Date(asOf(root)));
    for (const time of root.querySelectorAll("time[data-told]")) {
      time.textContent = forms[time.dataset.told](read(new Date(time.dateTime)), now);
    }
    for (const zone of root.querySelectorAll(".zone")) zone.textContent = `, ${timeZone} time`;
    for (const charts of root.querySelectorAll("[data-ticks]")) {
      const ticks = JSON.parse(charts.dataset.ticks);
      for (const text of charts.querySelectorAll("svg text")) {
        const told = text.textContent.trim();
        if (Object.hasOwn(ticks, told)) text.textContent = tick(read(new Date(ticks[told] * 1000)));
        if (told === "time (UTC)") text.textContent = `time (${timeZone})`;
      }
    }
  };

  /** An instant in an element of its own, told in one of the forms. */
  const element = (date, form) => {
    const time = document.createElement("time");
    time.dateTime = time.title = `${date.toISOString().slice(0, 19)}Z`;
    time.dataset.told = form;
    time.textContent = forms[form](read(date), read(new Date(asOf(document))));
    return time;
  };

  localise(document);
  return { localise, element };
})();
