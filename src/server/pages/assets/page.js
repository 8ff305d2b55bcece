// Keeps a page up to date: is told when something has changed, asks for the page again, and puts in what differs.
// What is the same stays the very element that it was, so that scroll, focus and what is being filled in stay too.
// Where it cannot be told, it asks now and then; where nobody answers, it says so, and goes on asking.
"use strict";
{
  const events = document.currentScript.dataset.events;
  const told = document.querySelector(".asof");
  const lost = document.querySelector(".lost");

  /** Between two copies of the page, in milliseconds: told of changes, not told of them, and without an answer. */
  const [QUIET, POLL, RETRY] = [30000, 10000, 3000];

  /** An answer takes no longer than this. */
  const PATIENCE = 10000;

  /** From one copy to the next at least, in milliseconds and in times of what the last one took. */
  const [REST, SHARE] = [1000, 10];

  /** Until a stream is tried again that was refused. */
  const REFUSED = 60000;

  let stream, timer, since, asking;
  let notBefore = 0;

  // What differs.

  /** By what an element is found again among its siblings. */
  const key = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return null;
    if (node.matches("tr, li")) return node.querySelector("a[href]")?.getAttribute("href");
    return node.id || node.getAttribute("aria-label");
  };
  const isSame = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);

  const attributes = (from, to) => {
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      const isTheReaders = name === "open" && from.nodeName === "DETAILS";
      if (!to.hasAttribute(name) && !isTheReaders) from.removeAttribute(name);
    }
  };

  /** Whether something is in the field that the page has not put there. */
  const isChanged = (field) => {
    if (field.matches("select")) {
      const given = [...field.options].findIndex((option) => option.defaultSelected);
      return field.selectedIndex !== Math.max(0, given);
    }
    return field.type !== "hidden" && (field.value !== field.defaultValue || field.checked !== field.defaultChecked);
  };

  /** Whether a form is being filled in, or tells what is wrong with it. */
  const isBusy = (form) => form.dataset.kept !== undefined || [...form.querySelectorAll("input, select")].some(isChanged);

  const holdsBusy = (node) => [node, ...(node.querySelectorAll?.("form") ?? [])].some((one) => one.nodeName === "FORM" && isBusy(one));

  const children = (from, to) => {
    let at = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      let found = at;
      if (at && !isSame(at, wanted)) {
        const isIt = key(wanted) ? (node) => isSame(node, wanted) : () => false;
        while (found && !isIt(found)) found = found.nextSibling;
      }
      if (!found) {
        from.insertBefore(document.adoptNode(wanted), at);
        continue;
      }
      if (found === at) at = at.nextSibling;
      else from.insertBefore(found, at);
      renew(found, wanted);
    }
    while (at) {
      const next = at.nextSibling;
      // What another script has added is for it to take away.
      if (at.dataset?.added === undefined && !holdsBusy(at)) at.remove();
      at = next;
    }
  };

  /** Makes `from` what `to` is. */
  const renew = (from, to) => {
    if (from.isEqualNode(to)) return;
    if (from.nodeType !== Node.ELEMENT_NODE) from.data = to.data;
    else if (from.dataset.kept !== undefined) return;
    else if (from.nodeName === "FORM" && (from.contains(document.activeElement) || isBusy(from))) return;
    else if (from.nodeName === "svg") from.replaceWith(document.adoptNode(to));
    else {
      attributes(from, to);
      children(from, to);
    }
  };

  /** Puts the page in, and the focus back where it was if its element has moved or was replaced. */
  const show = (page) => {
    times.localise(page);
    const focused = document.activeElement;
    const href = focused?.closest("main a[href]")?.getAttribute("href");
    renew(document.querySelector("main"), page.querySelector("main"));
    renew(told, page.querySelector(".asof"));
    if (document.activeElement !== focused) {
      const again = focused.isConnected ? focused : href && document.querySelector(`main a[href="${CSS.escape(href)}"]`);
      again?.focus({ preventScroll: true });
    }
    document.title = page.title;
    document.dispatchEvent(new Event("page:renewed"));
  };

  // When to ask.

  const isSelecting = () => {
    const selection = getSelection();
    return !selection.isCollapsed && document.querySelector("main").contains(selection.anchorNode);
  };

  const lose = () => {
    if (since) return;
    since = new Date();
    document.documentElement.dataset.lost = "";
    const shown = told.querySelector("time")?.getAttribute("datetime");
    const old = shown ? ` What is shown is ${told.textContent.trim()}, and every age counts from then.` : "";
    const rest = `.${old} Asking again until there is an answer.`;
    lost.replaceChildren("Disconnected since ", times.element(since, "second"), rest);
  };

  const find = () => {
    if (!since) return;
    since = null;
    delete document.documentElement.dataset.lost;
    lost.textContent = "";
  };

  const askIn = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(ask, wait);
  };

  /** Asks for the page as soon as that is fit. */
  const askSoon = () => askIn(Math.max(0, notBefore - performance.now()));

  const ask = async () => {
    // What a form was answered once with is not to be had again.
    if (document.hidden || document.querySelector("main > [data-kept]")) return;
    if (isSelecting()) {
      if (!told.querySelector("[data-held]")) {
        told.insertAdjacentHTML("beforeend", '<span data-held>, held while text is selected</span>');
      }
      return askIn(REST);
    }
    asking?.abort();
    const mine = (asking = new AbortController());
    const began = performance.now();
    const patience = setTimeout(() => mine.abort("late"), PATIENCE);
    const address = location.href;
    try {
      const answer = await fetch(address, { headers: { accept: "text/html" }, cache: "no-store", signal: mine.signal });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // What a proxy says in place of the program is no page of it.
      if (!page.querySelector("main") || !page.querySelector(".asof")) throw new Error(answer.statusText);
      if (asking !== mine) return;
      find();
      // Text may have been selected meanwhile.
      if (address === location.href && !isSelecting()) show(page);
    } catch {
      if (asking !== mine) return;
      lose();
    } finally {
      clearTimeout(patience);
    }
    const rest = Math.max(REST, SHARE * (performance.now() - began));
    notBefore = performance.now() + rest;
    const isTold = stream?.readyState === EventSource.OPEN;
    askIn(Math.max(rest, since ? RETRY : isTold ? QUIET : POLL));
  };

  const listen = () => {
    if (document.hidden || stream) return;
    const mine = (stream = new EventSource(events));
    stream.addEventListener("changed", askSoon);
    stream.addEventListener("error", () => {
      if (mine.readyState === EventSource.CLOSED) {
        if (stream === mine) stream = null;
        setTimeout(listen, REFUSED);
      }
      // It ended, perhaps with the program.
      askSoon();
    });
  };

  const look = () => {
    if (document.hidden) {
      // A browser opens few connections to one place: a page that nobody sees keeps none.
      stream?.close();
      stream = null;
    } else {
      listen();
      askSoon();
    }
  };

  document.addEventListener("visibilitychange", look);
  document.addEventListener("page:ask", () => askIn(0));
  addEventListener("popstate", () => askIn(0));
  listen();
  askIn(POLL);
}
