// Live updates: the server says *that* something changed, the page fetches it again the ordinary way.
//
// One event stream a page (`/events/live`), messages `{"kind": "bot"|"subscription", "id": "…"}`. A part of a page that
// shows such a thing says `data-live="bot:<id>"` (or `bot:*` for any), has an id, and refreshes itself by htmx on the
// event `live-refresh`. After a gap everything is fetched again, since messages may have been missed.
import htmx from "htmx.org";

const REFRESH_EVERY = 1000; // ms: at most one refresh of an element in this time, however many messages come
const HIDDEN_GRACE = 10_000; // ms a hidden page keeps its stream
const RETRY_FIRST = 2000; // ms before the first retry after the server closed the stream for good; then doubled
const RETRY_MOST = 60_000;

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
};

/** Refreshes elements, each at most once in REFRESH_EVERY; a message during the pause is remembered, not lost. */
class Refresher {
  #refreshed = new Map(); // element id -> time of its last refresh
  #waiting = new Map(); // element id -> timer

  ask(element) {
    const { id } = element;
    if (this.#waiting.has(id)) return;
    const due = (this.#refreshed.get(id) ?? -Infinity) + REFRESH_EVERY;
    this.#wait(id, Math.max(0, due - performance.now()));
  }

  #wait(id, delay) {
    this.#waiting.set(id, setTimeout(() => this.#refresh(id), delay));
  }

  #refresh(id) {
    this.#waiting.delete(id);
    const element = document.getElementById(id);
    if (!element) return;
    // Somebody is about to confirm something or to type in there: do not pull it away from under them.
    if (element.querySelector(".confirm[open], input:focus, select:focus, textarea:focus")) {
      this.#wait(id, REFRESH_EVERY);
      return;
    }
    this.#refreshed.set(id, performance.now());
    htmx.trigger(element, "live-refresh");
  }
}

/** Whether an element's `data-live` tokens name the thing that changed. */
function concerns(element, kind, id) {
  return element.dataset.live.split(/\s+/).some((token) => token === `${kind}:*` || token === `${kind}:${id}`);
}

class LiveUpdates {
  #refresher = new Refresher();
  #source = null;
  #missed = false; // whether messages may have passed while no stream was open
  #retryIn = RETRY_FIRST;
  #timer = null;

  constructor(indicator) {
    this.indicator = indicator;
    this.url = indicator.dataset.url;
  }

  start() {
    this.indicator.hidden = false;
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    window.addEventListener("pagehide", () => this.#close());
    window.addEventListener("pageshow", () => this.#open());
    this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    if (this.#source) return;
    this.#show(this.#missed ? "reconnecting" : "connecting");
    this.#source = new EventSource(this.url);
    this.#source.addEventListener("open", () => this.#opened());
    this.#source.addEventListener("message", (event) => this.#received(event));
    this.#source.addEventListener("error", () => this.#failed());
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.#missed = true;
  }

  #opened() {
    this.#retryIn = RETRY_FIRST;
    this.#show("live");
    if (this.#missed) this.#resync();
    this.#missed = false;
  }

  #failed() {
    this.#missed = true;
    this.#show("reconnecting");
    if (this.#source?.readyState !== EventSource.CLOSED) return; // the browser retries, with Last-Event-ID
    this.#close(); // it gave up (an answer that is no stream): try again ourselves, ever more slowly
    this.#timer = setTimeout(() => this.#open(), this.#retryIn * (0.5 + Math.random()));
    this.#retryIn = Math.min(this.#retryIn * 2, RETRY_MOST);
  }

  // Browsers allow six connections to a plain HTTP/1.1 server over all tabs: one stream in each of six forgotten tabs
  // would leave none for the pages themselves. So a page nobody looks at gives its stream back.
  #visibilityChanged() {
    clearTimeout(this.#timer);
    if (document.hidden) {
      this.#timer = setTimeout(() => this.#close(), HIDDEN_GRACE);
    } else {
      this.#open();
    }
  }

  #received(event) {
    let change;
    try {
      change = JSON.parse(event.data);
    } catch {
      return; // not a change of ours
    }
    this.#announce(change);
    for (const element of document.querySelectorAll("[data-live]")) {
      if (concerns(element, change.kind, change.id)) this.#refresher.ask(element);
    }
  }

  #resync() {
    this.#announce({ kind: "*", id: "*" });
    for (const element of document.querySelectorAll("[data-live]")) {
      // Spread out: after a restart of the server every open page comes back in the same second.
      setTimeout(() => this.#refresher.ask(element), Math.random() * REFRESH_EVERY);
    }
  }

  #announce(change) {
    document.dispatchEvent(new CustomEvent("tradewise:live", { detail: change }));
  }

  #show(state) {
    this.indicator.dataset.state = state;
    this.indicator.querySelector("[data-live-words]").textContent = WORDS[state];
  }
}

/** Opens the stream on pages that have an indicator for it, which are those of a signed-in person. */
export function startLiveUpdates() {
  const indicator = document.querySelector("[data-live-indicator]");
  if (indicator && "EventSource" in window) new LiveUpdates(indicator).start();
}
