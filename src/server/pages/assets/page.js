// Keeps a page up to date: asks for it again, and puts in what has changed. Scroll and focus stay where they are, and
// nothing moves under whoever is filling in the form.
"use strict";

const EVERY = 10000;
const told = document.querySelector(".asof");
let since = null;

/** Names the element that has the focus, so that it is found again in another copy of the page. */
const focused = () => {
  const link = document.activeElement?.closest("main a[href]");
  return link && `main a[href="${CSS.escape(link.getAttribute("href"))}"]`;
};

const refresh = async () => {
  const isBusy = document.hidden || document.activeElement?.closest("form") || !getSelection().isCollapsed;
  if (isBusy) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const place = focused();
    document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    if (place) document.querySelector(place)?.focus({ preventScroll: true });
    told.replaceChildren(...document.adoptNode(page.querySelector(".asof")).childNodes);
    delete told.dataset.lost;
    since = null;
  } catch {
    since ??= new Date();
    told.dataset.lost = "";
    told.textContent = `no answer since ${since.toISOString().slice(11, 16)} UTC`;
  }
};

setInterval(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
